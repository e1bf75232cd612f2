import io.grpc.ManagedChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.hyperledger.fabric.client.CloseableIterator;
import org.hyperledger.fabric.client.Commit;
import org.hyperledger.fabric.client.Contract;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.Network;
import org.hyperledger.fabric.client.Status;
import org.hyperledger.fabric.client.Transaction;

/** What scenarios share: connections, kept until the end, and small aids. */
final class World implements AutoCloseable {
    final Settings settings;
    final String home;
    final String second;
    final String third;
    private final Map<String, ManagedChannel> channels = new HashMap<>();
    private final Map<String, Gateway> gateways = new HashMap<>();

    World(Settings settings) {
        this.settings = settings;
        home = settings.members().get(0).mspId();
        second = settings.members().get(1).mspId();
        third = settings.members().get(2).mspId();
    }

    @Override
    public void close() {
        gateways.values().forEach(Gateway::close);
        channels.values().forEach(ManagedChannel::shutdownNow);
    }

    String key(String name) {
        return settings.prefix() + name;
    }

    Member member(String mspId, String user) throws Exception {
        for (var each : settings.members()) {
            if (each.mspId().equals(mspId)) {
                var folder = Path.of(each.users(), user, "msp");
                return Member.load(Path.of(each.profile()), folder);
            }
        }
        throw new AssertionError("the settings have no member " + mspId);
    }

    Member member(String mspId) throws Exception {
        return member(mspId, settings.user());
    }

    /** The connection to a member's node, one for all users. */
    synchronized ManagedChannel channel(Member member) throws Exception {
        if (!channels.containsKey(member.address())) {
            channels.put(member.address(), member.connect());
        }
        return channels.get(member.address());
    }

    /** The gateway of a member for the usual user, kept until the end. */
    synchronized Gateway gateway(String mspId) throws Exception {
        if (!gateways.containsKey(mspId)) {
            var member = member(mspId);
            gateways.put(mspId, member.gateway(channel(member)).connect());
        }
        return gateways.get(mspId);
    }

    Network network() throws Exception {
        return gateway(home).getNetwork(settings.channel());
    }

    Contract contract() throws Exception {
        return contractOf(gateway(home));
    }

    Contract contractOf(Gateway gateway) {
        return gateway.getNetwork(settings.channel()).getContract(settings.contract());
    }

    /** Submit Add some times, one after the other, and return the statuses. */
    List<Status> add(String name, int count) throws Exception {
        List<Status> statuses = new ArrayList<>();
        for (int each = 0; each < count; each++) {
            var proposal = contract().newProposal("Add").addArguments(key(name), "1").build();
            var status = proposal.endorse().submitAsync().getStatus();
            Checks.verify(status.isSuccessful(), status.getCode());
            statuses.add(status);
        }
        return statuses;
    }

    /** The number of the block after the newest one, which a new transaction tells. */
    long nextBlock() throws Exception {
        return add("mark", 1).get(0).getBlockNumber() + 1;
    }

    /** Endorse two transactions on one state and submit both: the second one meets a conflict. */
    List<Status> conflict(String name) throws Exception {
        List<Transaction> endorsed = new ArrayList<>();
        for (var number : List.of("1", "2")) {
            var proposal = contract().newProposal("Add").addArguments(key(name), number);
            endorsed.add(proposal.build().endorse());
        }
        List<Status> statuses = new ArrayList<>();
        for (var each : endorsed) {
            statuses.add(each.submitAsync().getStatus());
        }
        return statuses;
    }

    String get(String name) throws Exception {
        return Checks.text(contract().evaluateTransaction("Get", key(name)));
    }

    /** A transaction that is endorsed and not submitted, and the question for its status. */
    record Unsubmitted(Transaction transaction, Commit commit) {}

    /** The question is that of another transaction, in which the id is replaced. */
    Unsubmitted unsubmitted(String name) throws Exception {
        var late = contract().newProposal("Put").addArguments(key(name), "x").build().endorse();
        var first = contract().newProposal("Put").addArguments(key(name + ", first"), "x").build();
        var other = first.endorse().submitAsync();
        byte[] request = other.getBytes();
        byte[] id = Checks.bytes(late.getTransactionId());
        var latin = java.nio.charset.StandardCharsets.ISO_8859_1;
        int place = new String(request, latin).indexOf(other.getTransactionId());
        System.arraycopy(id, 0, request, place, id.length);
        return new Unsubmitted(late, gateway(home).newCommit(request));
    }

    /** Take from a stream until enough is taken, and close it. */
    static <T> List<T> takeUntil(CloseableIterator<T> stream, Predicate<List<T>> enough) {
        List<T> taken = new ArrayList<>();
        try (stream) {
            while (stream.hasNext()) {
                taken.add(stream.next());
                if (enough.test(taken)) {
                    return taken;
                }
            }
        }
        throw new AssertionError("the stream ended after " + taken.size());
    }

    static <T> T first(CloseableIterator<T> stream) {
        return takeUntil(stream, taken -> true).get(0);
    }

    static <T> T last(List<T> taken) {
        return taken.get(taken.size() - 1);
    }

    /** Run a command to its end. */
    static void command(List<String> words) throws Exception {
        var process = new ProcessBuilder(words).redirectErrorStream(true).start();
        process.getOutputStream().close();
        var said = Checks.text(process.getInputStream().readAllBytes());
        Checks.verify(process.waitFor(60, TimeUnit.SECONDS), words + " did not end");
        Checks.verify(process.exitValue() == 0, words + " failed: " + said);
    }
}
