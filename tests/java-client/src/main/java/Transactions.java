import com.google.protobuf.ByteString;
import io.grpc.Status.Code;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.client.Status;
import org.hyperledger.fabric.protos.peer.TxValidationCode;

/** Evaluate, submit, submitAsync, commit status, endorsing organisations, transient data. */
final class Transactions {
    private Transactions() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("evaluate", Transactions::evaluate);
        all.put("evaluate-does-not-write", Transactions::evaluateDoesNotWrite);
        all.put("evaluate-at-an-organisation", Transactions::evaluateAtAnOrganisation);
        all.put("submit", Transactions::submit);
        all.put("submit-without-a-result", Transactions::submitWithoutAResult);
        all.put("large-value", Transactions::largeValue);
        all.put("submit-async", Transactions::submitAsync);
        all.put("submit-through-each-member", Transactions::submitThroughEachMember);
        all.put("submit-many-at-once", Transactions::submitManyAtOnce);
        all.put("status-of-a-valid-transaction", Transactions::statusOfAValidTransaction);
        all.put("status-of-a-conflict", Transactions::statusOfAConflict);
        all.put("status-of-an-endorsement-failure", Transactions::statusOfAnEndorsementFailure);
        all.put("status-asked-before-the-submit", Transactions::statusAskedBeforeTheSubmit);
        all.put("endorsing-organisations", Transactions::endorsingOrganisations);
        all.put("transient-data", Transactions::transientData);
        all.put("transient-data-of-a-query", Transactions::transientDataOfAQuery);
        return all;
    }

    private static void evaluate(World world) throws Exception {
        var contract = world.contract();
        var nowhere = world.key("nowhere");
        Checks.equal(Checks.text(contract.evaluateTransaction("Get", nowhere)), "");
        Checks.equal(Checks.text(contract.evaluateTransaction("WhoAmI")), world.home);
        var bytes = contract.evaluateTransaction("Get", Checks.bytes(nowhere));
        Checks.equal(Checks.text(bytes), "");
    }

    private static void evaluateDoesNotWrite(World world) throws Exception {
        var total = world.contract().evaluateTransaction("Add", world.key("evaluated"), "5");
        Checks.equal(Checks.text(total), "5");
        Checks.equal(world.get("evaluated"), "");
    }

    private static void evaluateAtAnOrganisation(World world) throws Exception {
        var contract = world.contract();
        var there = contract.newProposal("WhoAmI").setEndorsingOrganizations(world.third).build();
        Checks.equal(Checks.text(there.evaluate()), world.home);
        var nobody = contract.newProposal("WhoAmI").setEndorsingOrganizations("NobodyMSP").build();
        var error = Checks.failure(GatewayException.class, nobody::evaluate);
        Checks.equal(error.getStatus().getCode(), Code.FAILED_PRECONDITION);
        Checks.contains(Failures.words(error), "no peers available to evaluate chaincode");
    }

    private static void submit(World world) throws Exception {
        var contract = world.contract();
        var total = contract.submitTransaction("Add", world.key("submitted"), "3");
        Checks.equal(Checks.text(total), "3");
        byte[] key = Checks.bytes(world.key("submitted"));
        var again = contract.submitTransaction("Add", key, Checks.bytes("4"));
        Checks.equal(Checks.text(again), "7");
        Checks.equal(world.get("submitted"), "7");
    }

    private static void submitWithoutAResult(World world) throws Exception {
        var result = world.contract().submitTransaction("Put", world.key("put"), "value");
        Checks.equal(result.length, 0);
        Checks.equal(world.get("put"), "value");
    }

    private static void largeValue(World world) throws Exception {
        var value = "قسط ادا ہو گئی. ".repeat(40_000);
        Checks.verify(Checks.bytes(value).length > 1_000_000, "it should be large");
        world.contract().submitTransaction("Put", world.key("large"), value);
        Checks.verify(world.get("large").equals(value), "another value came back");
    }

    private static void submitAsync(World world) throws Exception {
        var proposal = world.contract().newProposal("Add").addArguments(world.key("async"), "2");
        var submitted = proposal.build().endorse().submitAsync();
        Checks.equal(Checks.text(submitted.getResult()), "2");
        var id = submitted.getTransactionId();
        Checks.verify(id.matches("[0-9a-f]{64}"), id);
        var status = submitted.getStatus();
        Checks.equal(status.getCode(), TxValidationCode.VALID);
        Checks.equal(status.isSuccessful(), true);
        Checks.equal(status.getTransactionId(), id);
        Checks.equal(world.get("async"), "2");
    }

    private static void submitThroughEachMember(World world) throws Exception {
        int index = 0;
        for (var each : world.settings.members()) {
            var contract = world.contractOf(world.gateway(each.mspId()));
            var number = String.valueOf(index++);
            var key = world.key("through-" + each.mspId());
            Checks.equal(Checks.text(contract.submitTransaction("Add", key, number)), number);
            Checks.equal(Checks.text(contract.evaluateTransaction("WhoAmI")), each.mspId());
        }
    }

    private static void submitManyAtOnce(World world) throws Exception {
        var contract = world.contract();
        var all =
                IntStream.rangeClosed(1, 40)
                        .mapToObj(String::valueOf)
                        .map(number -> CompletableFuture.runAsync(() -> {
                            try {
                                var key = world.key("many-" + number);
                                var total = contract.submitTransaction("Add", key, number);
                                Checks.equal(Checks.text(total), number);
                            } catch (Exception error) {
                                throw new IllegalStateException(error);
                            }
                        }, work -> new Thread(work).start()))
                        .toArray(CompletableFuture<?>[]::new);
        CompletableFuture.allOf(all).get();
    }

    private static void statusOfAValidTransaction(World world) throws Exception {
        var proposal = world.contract().newProposal("Put").addArguments(world.key("valid"), "yes");
        var submitted = proposal.build().endorse().submitAsync();
        var first = submitted.getStatus();
        Checks.equal(first.getCode(), TxValidationCode.VALID);
        var again = submitted.getStatus();
        Checks.equal(again.getCode(), first.getCode());
        Checks.equal(again.getBlockNumber(), first.getBlockNumber());
    }

    private static void statusOfAConflict(World world) throws Exception {
        List<Status> statuses = world.conflict("conflict");
        Checks.equal(statuses.get(0).getCode(), TxValidationCode.VALID);
        Checks.equal(statuses.get(1).getCode(), TxValidationCode.MVCC_READ_CONFLICT);
        Checks.equal(statuses.get(1).isSuccessful(), false);
        Checks.verify(
                statuses.get(1).getBlockNumber() >= statuses.get(0).getBlockNumber(), "blocks");
        Checks.equal(world.get("conflict"), "1");
    }

    private static void statusOfAnEndorsementFailure(World world) throws Exception {
        var proposal =
                world.contract()
                        .newProposal("Put")
                        .addArguments(world.key("by one"), "x")
                        .setEndorsingOrganizations(world.home)
                        .build();
        var status = proposal.endorse().submitAsync().getStatus();
        Checks.equal(status.getCode(), TxValidationCode.ENDORSEMENT_POLICY_FAILURE);
        Checks.equal(status.isSuccessful(), false);
        Checks.verify(status.getBlockNumber() > 0, "it stands in a block");
        Checks.equal(world.get("by one"), "");
    }

    private static void statusAskedBeforeTheSubmit(World world) throws Exception {
        var late = world.unsubmitted("late");
        var answer = new CompletableFuture<Status>();
        new Thread(() -> {
            try {
                answer.complete(late.commit().getStatus());
            } catch (Exception error) {
                answer.completeExceptionally(error);
            }
        }).start();
        late.transaction().submitAsync();
        var status = answer.get();
        Checks.equal(status.getCode(), TxValidationCode.VALID);
        Checks.equal(status.getTransactionId(), late.transaction().getTransactionId());
    }

    private static void endorsingOrganisations(World world) throws Exception {
        var organisations = List.of(world.second, world.third);
        var proposal =
                world.contract()
                        .newProposal("Put")
                        .addArguments(world.key("endorsed"), "by two others")
                        .setEndorsingOrganizations(organisations.toArray(String[]::new))
                        .build();
        var transaction = proposal.endorse();
        var raw = transaction.getBytes();
        for (var each : world.settings.members()) {
            // The first member is the creator; any other one is named only by its endorsement.
            var id = each.mspId();
            boolean expected = id.equals(world.home) || organisations.contains(id);
            Checks.equal(Checks.holds(raw, Checks.bytes(id)), expected);
        }
        Checks.equal(transaction.submitAsync().getStatus().getCode(), TxValidationCode.VALID);
    }

    private static void transientData(World world) throws Exception {
        byte[] secret = new byte[32];
        new SecureRandom().nextBytes(secret);
        var digest = hexDigest(secret);
        var proposal =
                world.contract()
                        .newProposal("KeepDigest")
                        .addArguments(world.key("transient"))
                        .putTransient("secret", secret)
                        .setEndorsingOrganizations(world.home, world.second)
                        .build();
        Checks.verify(Checks.holds(proposal.getBytes(), secret), "the proposal carries it");
        var transaction = proposal.endorse();
        Checks.equal(Checks.text(transaction.getResult()), digest);
        Checks.verify(!Checks.holds(transaction.getBytes(), secret), "the transaction does not");
        var status = transaction.submitAsync().getStatus();
        Checks.verify(status.isSuccessful(), status.getCode());
        var blocks = world.network().newBlockEventsRequest().startBlock(status.getBlockNumber());
        ByteString raw = World.first(blocks.build().getEvents()).toByteString();
        Checks.verify(Checks.holds(raw.toByteArray(), Checks.bytes(digest)), "the digest");
        Checks.verify(!Checks.holds(raw.toByteArray(), secret), "and not the secret");
    }

    private static void transientDataOfAQuery(World world) throws Exception {
        var proposal =
                world.contract()
                        .newProposal("KeepDigest")
                        .addArguments(world.key("nothing"))
                        .putTransient("secret", "text")
                        .build();
        Checks.equal(Checks.text(proposal.evaluate()), hexDigest(Checks.bytes("text")));
    }

    static String hexDigest(byte[] content) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    }
}
