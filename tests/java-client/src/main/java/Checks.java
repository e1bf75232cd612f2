import java.nio.charset.StandardCharsets;
import java.util.Objects;

/** What scenarios claim. */
final class Checks {
    private Checks() {}

    /** Something that may throw. */
    @FunctionalInterface
    interface Call {
        Object run() throws Exception;
    }

    static void verify(boolean holds, Object otherwise) {
        if (!holds) {
            throw new AssertionError(String.valueOf(otherwise));
        }
    }

    static void equal(Object got, Object expected) {
        verify(Objects.equals(got, expected), "got " + got + ", expected " + expected);
    }

    static void contains(String words, String part) {
        verify(words != null && words.contains(part), "no '" + part + "' in: " + words);
    }

    static String text(byte[] content) {
        return new String(content, StandardCharsets.UTF_8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Whether one array of bytes holds another. */
    static boolean holds(byte[] whole, byte[] part) {
        var latin = StandardCharsets.ISO_8859_1;
        return new String(whole, latin).contains(new String(part, latin));
    }

    /** What a call throws, which must be of this kind. */
    static <T extends Throwable> T failure(Class<T> kind, Call call) throws Exception {
        Object answer;
        try {
            answer = call.run();
        } catch (Exception error) {
            if (kind.isInstance(error)) {
                return kind.cast(error);
            }
            throw error;
        }
        var told = answer instanceof byte[] content ? text(content) : answer;
        throw new AssertionError("it should have failed and gave " + told);
    }
}
