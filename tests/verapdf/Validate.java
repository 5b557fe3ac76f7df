import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.PDFAValidator;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;
import org.verapdf.pdfa.validation.profiles.Profiles;
import org.verapdf.pdfa.validation.profiles.ValidationProfile;

/**
 * Holds PDFs against veraPDF's profiles: java -cp JARS Validate.java PROFILE[,PROFILE...] PDF...
 *
 * Writes one line for each PDF and profile, and one for each rule broken, divided by tabs:
 *
 *   checked  PDF  PROFILE  how many checks
 *   broken   PDF  PROFILE  clause-test  how often  the rule
 */
public final class Validate {
    public static void main(String[] arguments) throws Exception {
        Logger.getLogger("").setLevel(Level.OFF);
        VeraGreenfieldFoundryProvider.initialise();
        for (String name : arguments[0].split(",")) {
            ValidationProfile profile = read(name);
            for (int at = 1; at < arguments.length; at++) {
                validate(name, profile, arguments[at]);
            }
        }
    }

    private static ValidationProfile read(String name) throws Exception {
        String place = "/org/verapdf/pdfa/validation/" + name + ".xml";
        try (InputStream in = Validate.class.getResourceAsStream(place)) {
            if (in == null) {
                throw new IllegalArgumentException("veraPDF's jar has no profile " + name);
            }
            return Profiles.profileFromXml(in);
        }
    }

    private static void validate(String name, ValidationProfile profile, String pdf)
            throws Exception {
        ValidationResult result;
        try (InputStream in = Files.newInputStream(Path.of(pdf));
                PDFAParser parser =
                        Foundries.defaultInstance().createParser(in, profile.getPDFAFlavour());
                PDFAValidator validator =
                        Foundries.defaultInstance().createValidator(profile, false)) {
            result = validator.validate(parser);
        }
        Map<String, Integer> broken = new TreeMap<>();
        Map<String, String> rules = new TreeMap<>();
        for (TestAssertion assertion : result.getTestAssertions()) {
            if (assertion.getStatus() == TestAssertion.Status.FAILED) {
                String rule =
                        assertion.getRuleId().getClause()
                                + "-"
                                + assertion.getRuleId().getTestNumber();
                broken.merge(rule, 1, Integer::sum);
                rules.put(rule, assertion.getMessage().replaceAll("\\s+", " "));
            }
        }
        if (result.isCompliant() != broken.isEmpty()) {
            throw new IllegalStateException(pdf + ": veraPDF's answer contradicts its findings");
        }
        print("checked", pdf, name, result.getTotalAssertions());
        broken.forEach((rule, often) -> print("broken", pdf, name, rule, often, rules.get(rule)));
    }

    private static void print(Object... parts) {
        StringBuilder line = new StringBuilder();
        for (Object part : parts) {
            line.append(line.length() == 0 ? "" : "\t").append(part);
        }
        System.out.println(line);
    }
}
