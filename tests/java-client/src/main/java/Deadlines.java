import io.grpc.CallOptions;
import io.grpc.Context;
import io.grpc.Status.Code;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.UnaryOperator;
import org.hyperledger.fabric.client.CloseableIterator;
import org.hyperledger.fabric.client.CommitStatusException;
import org.hyperledger.fabric.client.EndorseException;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.client.GatewayRuntimeException;
import org.hyperledger.fabric.client.Status;
import org.hyperledger.fabric.client.SubmitException;
import org.hyperledger.fabric.protos.peer.TxValidationCode;

/** Deadlines, and calls and streams that their caller gives up. */
final class Deadlines {
    private static final long SOON_MS = 500;
    private static final long AT_ONCE_S = 5;

    private Deadlines() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("query-until-a-deadline", Deadlines::query);
        all.put("endorse-until-a-deadline", Deadlines::endorse);
        all.put("submit-until-a-deadline", Deadlines::submit);
        all.put("status-until-a-deadline", Deadlines::status);
        all.put("events-until-a-deadline", Deadlines::events);
        all.put("blocks-until-a-deadline", Deadlines::blocks);
        all.put("cancelled-status", Deadlines::cancelledStatus);
        all.put("cancelled-chaincode-events", Deadlines::cancelledEvents);
        all.put("cancelled-block-events", Deadlines::cancelledBlocks);
        return all;
    }

    private static UnaryOperator<CallOptions> expired() {
        return options -> options.withDeadlineAfter(-1, TimeUnit.MILLISECONDS);
    }

    private static UnaryOperator<CallOptions> soon() {
        return options -> options.withDeadlineAfter(SOON_MS, TimeUnit.MILLISECONDS);
    }

    private static void serves(World world) throws Exception {
        var answer = world.contract().evaluateTransaction("WhoAmI");
        Checks.equal(Checks.text(answer), world.home);
    }

    private static void query(World world) throws Exception {
        var proposal = world.contract().newProposal("WhoAmI").build();
        var error = Checks.failure(GatewayException.class, () -> proposal.evaluate(expired()));
        Checks.equal(error.getStatus().getCode(), Code.DEADLINE_EXCEEDED);
        Checks.equal(Checks.text(proposal.evaluate()), world.home);
    }

    private static void endorse(World world) throws Exception {
        var key = world.key("too late");
        var proposal = world.contract().newProposal("Put").addArguments(key, "x").build();
        var error = Checks.failure(EndorseException.class, () -> proposal.endorse(expired()));
        Checks.equal(error.getStatus().getCode(), Code.DEADLINE_EXCEEDED);
        Checks.equal(error.getTransactionId(), proposal.getTransactionId());
        proposal.endorse();
    }

    private static void submit(World world) throws Exception {
        var key = world.key("submitted too late");
        var proposal = world.contract().newProposal("Put").addArguments(key, "x").build();
        var transaction = proposal.endorse();
        var error = Checks.failure(SubmitException.class, () -> transaction.submitAsync(expired()));
        Checks.equal(error.getStatus().getCode(), Code.DEADLINE_EXCEEDED);
        Checks.equal(error.getTransactionId(), transaction.getTransactionId());
        Checks.equal(transaction.submitAsync().getStatus().getCode(), TxValidationCode.VALID);
    }

    private static void status(World world) throws Exception {
        var never = world.unsubmitted("never");
        var error =
                Checks.failure(
                        CommitStatusException.class, () -> never.commit().getStatus(soon()));
        Checks.equal(error.getStatus().getCode(), Code.DEADLINE_EXCEEDED);
        Checks.equal(error.getTransactionId(), never.transaction().getTransactionId());
    }

    private static void events(World world) throws Exception {
        long start = world.nextBlock() + 1000;
        var request = world.network().newChaincodeEventsRequest(world.settings.contract());
        endsAtTheDeadline(request.startBlock(start).build().getEvents(soon()));
    }

    private static void blocks(World world) throws Exception {
        var request = world.network().newBlockEventsRequest().startBlock(world.nextBlock());
        endsAtTheDeadline(request.build().getEvents(soon()));
    }

    private static void endsAtTheDeadline(CloseableIterator<?> stream) throws Exception {
        var error = Checks.failure(GatewayRuntimeException.class, stream::next);
        Checks.equal(error.getStatus().getCode(), Code.DEADLINE_EXCEEDED);
        stream.close();
    }

    private static void cancelledStatus(World world) throws Exception {
        var given = world.unsubmitted("given up");
        var answer = new CompletableFuture<Status>();
        Context.CancellableContext call = Context.current().withCancellation();
        new Thread(call.wrap(() -> {
            try {
                answer.complete(given.commit().getStatus());
            } catch (Exception error) {
                answer.completeExceptionally(error);
            }
        })).start();
        Checks.failure(
                TimeoutException.class, () -> answer.get(SOON_MS, TimeUnit.MILLISECONDS));
        call.cancel(null);
        var ended =
                Checks.failure(
                        ExecutionException.class, () -> answer.get(AT_ONCE_S, TimeUnit.SECONDS));
        var error = (CommitStatusException) ended.getCause();
        Checks.equal(error.getStatus().getCode(), Code.CANCELLED);
        Checks.equal(error.getTransactionId(), given.transaction().getTransactionId());
        serves(world);
    }

    private static void cancelledEvents(World world) throws Exception {
        var last = world.add("given up events", 1).get(0);
        var request = world.network().newChaincodeEventsRequest(world.settings.contract());
        var stream = request.startBlock(last.getBlockNumber()).build().getEvents();
        Checks.equal(stream.next().getTransactionId(), last.getTransactionId());
        stream.close();
        Events.ends(stream, AT_ONCE_S);
        serves(world);
    }

    private static void cancelledBlocks(World world) throws Exception {
        var last = world.add("given up blocks", 1).get(0);
        var request = world.network().newBlockEventsRequest().startBlock(last.getBlockNumber());
        var stream = request.build().getEvents();
        Checks.equal(stream.next().getHeader().getNumber(), last.getBlockNumber());
        stream.close();
        Events.ends(stream, AT_ONCE_S);
        serves(world);
    }
}
