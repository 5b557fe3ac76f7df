# shellcheck shell=sh
# The project's own Python: .venv, what the locked requirements name, and the project itself.
# Needs steps.sh and system.sh.

# suits PYTHON: is it 3.11 or newer, and whole?
suits() {
    "$1" -c 'import sys, ssl, sqlite3, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

brings_pip() {
    "$1" -c 'import ensurepip' >/dev/null 2>&1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# Print the first Python that suits; one that can make a complete environment comes before one that
# cannot (Debian keeps that part in a package of its own). A name on the PATH is not enough: version
# managers leave names there that only complain.
find_python() {
    without=
    for name in python3.13 python3.12 python3.11 python3 python3.14; do
        path=$(command -v "$name" 2>/dev/null) || continue
        suits "$path" || continue
        if brings_pip "$path"; then
            printf '%s\n' "$path"
            return 0
        fi
        [ -n "$without" ] || without=$path
    done
    [ -n "$without" ] && printf '%s\n' "$without"
}

# Is .venv there, sound, and made for this place? Its scripts hold its own path, so an environment
# that was copied or moved with the folder is made anew.
environment_sound() {
    suits .venv/bin/python || return 1
    if grep -q '^command' .venv/pyvenv.cfg 2>/dev/null; then
        grep -qF -- "$root/.venv" .venv/pyvenv.cfg || return 1
    fi
    brings_environment_pip
}

brings_environment_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 ||
        { [ -f .venv/pip-from ] && "$(cat .venv/pip-from)" -m pip --version >/dev/null 2>&1; }
}

run_pip() {
    if [ -f .venv/pip-from ]; then
        PIP_USER=0 "$(cat .venv/pip-from)" -m pip --python .venv/bin/python "$@"
    else
        PIP_USER=0 .venv/bin/python -m pip "$@"
    fi
}

# What .venv was made from: when this text changes, it is brought up to date.
fingerprint() {
    .venv/bin/python -c 'import sys; print(sys.version)'
    cat "$1" pyproject.toml | cksum
}

make_environment() {
    python=$1
    rm -rf .venv
    if brings_pip "$python"; then
        "$python" -m venv "$root/.venv"
        return
    fi
    # The pip of the Python itself can fill an environment that has none of its own.
    "$python" -m venv --without-pip "$root/.venv" || return
    printf '%s\n' "$python" >.venv/pip-from
}

# Hashed and from wheels only: nothing of a package runs while it is installed.
install_requirements() {
    run_pip install --disable-pip-version-check --no-input --progress-bar off \
        --require-hashes --only-binary :all: -r "$1"
}

# The build backend is among the requirements, so this reads nothing from anywhere else.
install_project() {
    run_pip install --disable-pip-version-check --no-input --no-deps --no-index \
        --no-build-isolation --editable . || return
    # Said relative to where it stands, the project's folder may have any name: Python 3.11 reads
    # this file by the locale, and would not start at all under LC_ALL=C in a folder called "é".
    for link in .venv/lib/python*/site-packages/_annual_letters.pth; do
        [ ! -f "$link" ] || echo ../../../.. >"$link"
    done
}

# prepare_python REQUIREMENTS: after it, .venv/bin/letters is there and current.
prepare_python() {
    requirements=$1
    stamp=.venv/made-from-$requirements
    if ! environment_sound; then
        python=$(find_python) || python=
        if [ -z "$python" ] || ! brings_pip "$python"; then
            obtain_python "$python"
            python=$(find_python) || python=
        fi
        if [ -z "$python" ]; then
            stop 69 "Python 3.11 or newer is needed and was not found; install what is missing (Debian, Ubuntu: apt-get install --no-install-recommends $(packages_missing python3 python3-venv))."
        fi
        if ! brings_pip "$python" && ! "$python" -m pip --version >/dev/null 2>&1; then
            stop 69 "Python $(version_of "$python") cannot make an environment here; as an administrator: apt-get install --no-install-recommends $(packages_missing "python$(version_of "$python")-venv")"
        fi
        [ ! -e .venv ] || say "The environment in .venv is broken or was made elsewhere; it is made anew."
        step "Making a Python $(version_of "$python") environment in .venv" make_environment "$python" ||
            stop 69 "no environment could be made with $python."
    fi
    current=$(fingerprint "$requirements")
    if [ -x .venv/bin/letters ] && [ "$current" = "$(cat "$stamp" 2>/dev/null)" ]; then
        return 0
    fi
    rm -f "$stamp"
    step "Installing the Python packages that $requirements names" install_requirements "$requirements" ||
        stop 69 "the Python packages could not be installed; is the package index reachable from here (pip config list)?"
    step "Installing the project itself" install_project ||
        stop 69 "the project could not be installed into .venv."
    printf '%s\n' "$current" >"$stamp"
}

# obtain_python FOUND: ask the distribution for what is missing: the part of FOUND that makes
# environments, or a whole Python. Not succeeding is not the end: prepare_python looks again.
obtain_python() {
    has_apt || return 0
    apt_lists
    if [ -n "$1" ]; then
        wanted=python$(version_of "$1")-venv
        ! has_candidate "$wanted" || apt_install "Python's venv from the distribution" "$wanted" || true
        return 0
    fi
    for version in 3.13 3.12 3.11; do
        if has_candidate "python$version-venv"; then
            apt_install "Python $version from the distribution" "python$version" "python$version-venv" || true
            return 0
        fi
    done
}
