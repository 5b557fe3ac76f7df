# shellcheck shell=sh
# What comes from the distribution: LibreOffice Writer, its Python bridge and the letter's fonts.
# Needs steps.sh; prepare_office needs .venv as well.

# ---- being root, for the distribution's packages only

# Find out how to become root, once, while a person can still be asked: sets root_via to "",
# "sudo -n" or "sudo". Fails where there is no way.
root_via=unknown
can_be_root() {
    if [ "$root_via" = unknown ]; then
        if [ "$(id -u)" -eq 0 ]; then
            root_via=
        elif ! command -v sudo >/dev/null 2>&1; then
            root_via=none
        elif sudo -n true 2>/dev/null; then
            root_via='sudo -n'
        elif [ -t 0 ] && [ -t 2 ]; then
            say "sudo may ask for your password, to install packages of the distribution."
            if sudo -v; then root_via=sudo; else root_via=none; fi
        else
            root_via=none
        fi
    fi
    [ "$root_via" != none ]
}

# The caller's umask may hide what is written from everybody else, the distribution's files too.
as_root() {
    # shellcheck disable=SC2086 # two words are meant
    $root_via env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -c 'umask 022; exec "$@"' sh "$@"
}

# ---- apt

has_apt() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-query >/dev/null 2>&1
}

has_candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q '^ *Candidate: [^(]'
}

version_installed() {
    dpkg-query -W -f '${db:Status-Abbrev}|${Version}\n' "$@" 2>/dev/null | sed -n 's/^.i *|//p' | head -n 1
}

# apt waits for another one at work (unattended upgrades) and never asks about configuration files.
apt_get() {
    as_root apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"
}

apt_updated=
apt_update() {
    [ -z "$apt_updated" ] || return 0
    can_be_root || return 1
    apt_updated=yes
    step "Asking the distribution which packages it has" apt_get update
}

# Fetch the lists where there are none: images are often shipped without.
apt_lists() {
    has_candidate libreoffice-core || apt_update || true
}

# Packages are bound by their versions, so a half-done installation has to be ended first.
end_interrupted() {
    if [ -n "$(find /var/lib/dpkg/updates -type f 2>/dev/null | head -n 1)" ]; then
        as_root dpkg --configure -a
    fi
}

fetch_and_install() {
    end_interrupted || return
    apt_get install -y --no-install-recommends "$@"
}

# apt_install WORDS PACKAGE...: install them; where the lists turn out to be old, once more with new ones.
apt_install() {
    what=$1
    shift
    can_be_root || return 1
    if [ -z "$apt_updated" ]; then
        attempt "Installing $what" fetch_and_install "$@" && return 0
        apt_update || return 1
    fi
    step "Installing $what" fetch_and_install "$@"
}

# ---- what is there already

# The project's own search decides; Writer is a part of its own in a distribution's LibreOffice.
office_found() (
    program=$(.venv/bin/python -c 'from pipeline.convert import find_office; print(find_office().program)' 2>>"$log") ||
        exit 1
    case $program in
    /usr/lib*) [ -e "${program%/*}/libswlo.so" ] ;;
    esac
)

fonts_found() {
    if [ -n "$(find /usr/share/fonts /usr/local/share/fonts -name 'LiberationSans-Regular.*' 2>/dev/null | head -n 1)" ]; then
        return 0
    fi
    command -v fc-list >/dev/null 2>&1 && fc-list 2>/dev/null | grep -q 'Liberation Sans'
}

# The same by the files alone, where there is no .venv yet that could run the project's search.
writer_seen() {
    for part in /usr/lib/libreoffice/program/libswlo.so /usr/lib64/libreoffice/program/libswlo.so \
        /opt/libreoffice*/program/soffice.bin "${LETTERS_SOFFICE:-/nonexistent}"; do
        [ ! -e "$part" ] || return 0
    done
    return 1
}

bridge_seen() {
    # A LibreOffice from elsewhere brings a Python of its own.
    for part in /opt/libreoffice*/program/python; do
        [ ! -e "$part" ] || return 0
    done
    [ -n "${LETTERS_SOFFICE:-}" ] || /usr/bin/python3 -I -c 'import uno' >/dev/null 2>&1
}

# packages_missing PACKAGE...: print these and all others that are missing, so that whoever has to
# ask an administrator asks once.
packages_missing() {
    writer_seen || set -- "$@" libreoffice-writer-nogui
    bridge_seen || set -- "$@" python3-uno
    fonts_found || set -- "$@" fonts-liberation
    printf '%s\n' "$*"
}

# ---- a newer LibreOffice for Debian 12

backports=/etc/apt/sources.list.d/letters-backports.sources

# backports_stanza CODENAME FILE...: the source that CODENAME itself comes from, rewritten to name
# its backports; nothing where none of the files has such a source. Reads both of apt's formats and
# keeps what the source says about keys and architectures.
backports_stanza() {
    release=$1
    shift
    for file in "$@"; do
        [ -r "$file" ] || continue
        case $file in
        *.sources) stanza=$(from_deb822 "$release" <"$file") ;;
        *) stanza=$(from_one_line "$release" <"$file") ;;
        esac
        if [ -n "$stanza" ]; then
            printf '%s\n' "$stanza"
            return 0
        fi
    done
}

from_deb822() {
    # Comments may stand inside a stanza, where apt skips them too.
    grep -v '^#' | awk -v release="$1" '
        BEGIN { RS = ""; FS = "\n" }
        {
            kept = ""; field = ""; on = types = suites = components = 0; on = 1; remote = 0
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^[^ \t]/) field = tolower(substr($i, 1, index($i, ":") - 1))
                padded = " " $i " "; gsub(/[:\t]/, " ", padded)
                if (field == "enabled" && tolower($i) ~ /:[ \t]*(no|false|0)/) on = 0
                if (field == "uris" && $i !~ /cdrom:/) remote = 1
                if (field == "types") { if (padded ~ / deb /) types = 1; continue }
                if (field == "suites") { if (index(padded, " " release " ")) suites = 1; continue }
                if (field == "components") { if (padded ~ / main /) components = 1; continue }
                kept = kept $i "\n"
            }
            if (on && remote && types && suites && components) {
                printf "Types: deb\n%sSuites: %s-backports\nComponents: main\n", kept, release
                exit
            }
        }'
}

from_one_line() {
    awk -v release="$1" '
        /^[ \t]*deb[ \t]/ && !/cdrom:/ {
            options = ""
            if (match($0, /\[[^]]*\]/)) {
                options = substr($0, RSTART + 1, RLENGTH - 2)
                $0 = substr($0, 1, RSTART - 1) " " substr($0, RSTART + RLENGTH)
            }
            sub(/#.*/, "")
            if ($3 != release) next
            main = 0; for (i = 4; i <= NF; i++) if ($i == "main") main = 1
            if (!main) next
            printf "Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\n", $2, release
            count = split(options, option, " ")
            for (i = 1; i <= count; i++) {
                name = substr(option[i], 1, index(option[i], "=") - 1)
                value = substr(option[i], index(option[i], "=") + 1)
                gsub(/,/, " ", value)
                if (name == "arch") name = "Architectures"
                if (name == "signed-by") name = "Signed-By"
                if (name == "trusted") name = "Trusted"
                if (name != "") printf "%s: %s\n", name, value
            }
            exit
        }'
}

backports_configured() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -q "^[^#]*$1-backports"
}

# Only this one source, with any failure counted: an ordinary update forgives a missing mirror.
ask_source() {
    apt_get update -o Dir::Etc::SourceList="$root/$1" -o Dir::Etc::SourceParts=/dev/null \
        -o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any
}

keep_source() {
    as_root cp "$root/$1" "$backports" && as_root chmod 644 "$backports"
}

# Make Debian 12's backports known to apt where its own mirror has them. Fails where it has not.
add_backports() {
    release=$1
    if ! backports_configured "$release"; then
        stanza=$(backports_stanza "$release" /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources \
            /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list)
        [ -n "$stanza" ] || return 1
        {
            echo "# Written by the letters project's ./start, for a newer LibreOffice; safe to remove."
            printf '%s\n' "$stanza"
        } >var/backports.sources
        found=0
        attempt "Asking the machine's Debian mirror for $release-backports (a newer LibreOffice is there)" \
            ask_source var/backports.sources || found=1
        [ "$found" -ne 0 ] || step "Adding that source to apt, as $backports" keep_source var/backports.sources || found=1
        rm -f var/backports.sources
        return "$found"
    fi
    LC_ALL=C apt-cache policy | grep -q "n=$release-backports" || apt_update
}

# Print the release to install LibreOffice from, where that is not simply the distribution's.
newer_release() {
    [ -r /etc/os-release ] || return 0
    (
        ID='' VERSION_CODENAME=''
        # shellcheck disable=SC1091 # the machine's
        . /etc/os-release
        [ "$ID" = debian ] && [ "$VERSION_CODENAME" = bookworm ] && echo bookworm
    ) || true
}

# ---- the one call

# prepare_office: LibreOffice Writer, bridge and fonts, from the distribution where they are missing.
# Fails, having said in one line what a person has to install, where it cannot.
prepare_office() {
    missing=
    office_found || missing="LibreOffice Writer and its Python bridge (uno)"
    fonts_found || missing="${missing:+$missing, }the Liberation fonts"
    [ -n "$missing" ] || return 0
    if ! has_apt; then
        complain "needed and not found: $missing. Install with this system's package manager (Fedora: libreoffice-writer libreoffice-pyuno liberation-sans-fonts), then call this again."
        return 1
    fi
    if ! can_be_root; then
        complain "needed and not found: $missing. As an administrator: apt-get install --no-install-recommends libreoffice-writer-nogui python3-uno fonts-liberation"
        return 1
    fi
    apt_lists
    fonts="fonts-liberation"
    ! has_candidate fonts-liberation2 || fonts="fonts-liberation2"
    if office_found; then
        apt_install "the Liberation fonts" "$fonts"
    elif ! install_office || ! office_found; then
        complain "LibreOffice was installed as far as possible and still cannot be used; $root/$log says why."
        return 1
    fi
}

# With the fonts in one go; all parts of LibreOffice must be of one version.
install_office() {
    present=$(version_installed libreoffice-core libreoffice-core-nogui)
    if [ -n "$present" ]; then
        # A desktop's LibreOffice and the one without a display have Writers of their own.
        writer=libreoffice-writer-nogui
        [ -z "$(version_installed libreoffice-core)" ] || writer=libreoffice-writer
        attempt "Installing what LibreOffice $present lacks here" \
            fetch_and_install "$writer=$present" "python3-uno=$present" "$fonts" && return 0
        apt_install "what LibreOffice lacks here, bringing it up to date" "$writer" python3-uno "$fonts"
        return
    fi
    writer=libreoffice-writer-nogui
    has_candidate "$writer" || writer=libreoffice-writer
    release=$(newer_release)
    if [ -n "$release" ]; then
        if add_backports "$release" &&
            apt_install "LibreOffice Writer and fonts from $release-backports (a few minutes)" \
                -t "$release-backports" "$writer" python3-uno "$fonts"; then
            return 0
        fi
        say "No LibreOffice could be had from $release-backports ($log says why); taking the one of $release itself."
    fi
    apt_install "LibreOffice Writer and fonts from the distribution (a few minutes)" "$writer" python3-uno "$fonts"
}

# prepare_validator: what veraPDF, which the tests ask about accessibility, needs beside its engine.
# Fails, having said in one line what a person has to install, where it cannot.
prepare_validator() {
    lacking=$(.venv/bin/python -c 'from tests import verapdf; print(verapdf.lacking())') || return 1
    [ -n "$lacking" ] || return 0
    if has_apt && can_be_root; then
        apt_lists
        # shellcheck disable=SC2046 # a word for each package
        apt_install "Java, for the validator of accessible PDFs" \
            $(.venv/bin/python -c 'from tests import verapdf; print(*verapdf.DEBIAN)') || true
        lacking=$(.venv/bin/python -c 'from tests import verapdf; print(verapdf.lacking())') || return 1
        [ -n "$lacking" ] || return 0
    fi
    complain "$lacking; until then the tests of accessibility are left out."
    return 1
}

# prepare_sandbox: bubblewrap, with which LibreOffice is kept apart from the machine.
# Fails, having said in one line what a person has to install, where it cannot.
prepare_sandbox() {
    ! command -v bwrap >/dev/null 2>&1 || return 0
    if has_apt && can_be_root; then
        apt_lists
        apt_install "bubblewrap, to keep LibreOffice apart" bubblewrap || true
        ! command -v bwrap >/dev/null 2>&1 || return 0
    fi
    complain "bubblewrap (bwrap) is not installed (Debian, Ubuntu: apt-get install bubblewrap); until then the tests of what LibreOffice is kept from are left out."
    return 1
}

# ---- the mail servers of the tests

# Installed with no configuration and started by nobody: the tests run instances of their own. The
# machine's own mail server is never replaced (--no-remove), nor is one that is there already set up.
install_servers() {
    unconfigured="postfix postfix/main_mailer_type select No configuration"
    # shellcheck disable=SC2016 # root's shell is to read them
    as_root sh -c 'printf "%s\n" "$1" | debconf-set-selections' sh "$unconfigured" || return
    policy=/usr/sbin/policy-rc.d
    asleep=
    if ! [ -e "$policy" ]; then
        asleep=yes
        # shellcheck disable=SC2016 # the same
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy" || return
        # This runs in a shell of its own, also when it is interrupted.
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
    fi
    fetch_and_install --no-remove "$@" || return
    if [ -n "$asleep" ] && [ -d /run/systemd/system ]; then
        for unit in postfix.service dovecot.service dovecot.socket; do
            as_root systemctl disable "$unit" 2>/dev/null || true
        done
    fi
}

# prepare_servers: Postfix and Dovecot, against which the tests prove what is said about mail.
# Fails, having said in one line what a person has to install, where it cannot.
prepare_servers() {
    lacking=$(.venv/bin/python -c 'from tests import servers; print(servers.lacking())') || return 1
    [ -n "$lacking" ] || return 0
    if [ "$(id -u)" -eq 0 ] && has_apt && can_be_root; then
        apt_lists
        # shellcheck disable=SC2046 # a word for each package
        step "Installing Postfix and Dovecot, for the tests with real mail servers" \
            install_servers $(.venv/bin/python -c 'from tests import servers; print(*servers.absent())') || true
        lacking=$(.venv/bin/python -c 'from tests import servers; print(servers.lacking())') || return 1
        [ -n "$lacking" ] || return 0
    fi
    complain "$lacking; until then the tests with real mail servers are left out."
    return 1
}
