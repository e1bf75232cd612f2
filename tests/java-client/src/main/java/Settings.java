import java.util.List;
import java.util.Map;

/**
 * A network; its first member is the home of the application.
 *
 * @param prefix put before every key, so that one network can be used again
 * @param identities users of the first member by the kind of their key
 * @param collection whose members are the first two
 * @param restart how the peer of one member, not one of the first three, is stopped and started
 */
record Settings(
        String channel,
        String contract,
        String user,
        long firstBlock,
        String prefix,
        List<OfMember> members,
        Map<String, String> identities,
        String collection,
        Restart restart) {

    /** Where a member's connection profile is, and the folder of its users. */
    record OfMember(String mspId, String profile, String users) {}

    /** Commands, as lists of words. */
    record Restart(String mspId, List<String> stop, List<String> start) {}
}
