import io.grpc.Status.Code;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.hyperledger.fabric.client.CommitException;
import org.hyperledger.fabric.client.EndorseException;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.client.SubmitException;
import org.hyperledger.fabric.protos.gateway.ErrorDetail;
import org.hyperledger.fabric.protos.peer.TxValidationCode;

/** Each stage's own exception with its transaction id, codes of gRPC, what single peers said. */
final class Failures {
    private static final String REASON = "the reason of the scenario";
    private static final Pattern REFUSED = Pattern.compile("chaincode response 400, .*" + REASON);

    private Failures() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("refusal-of-a-query", Failures::ofAQuery);
        all.put("refusal-of-a-transaction", Failures::ofATransaction);
        all.put("endorse-error-names-two-peers", Failures::namesTwoPeers);
        all.put("endorse-error-of-an-unknown-organisation", Failures::unknownOrganisation);
        all.put("unknown-contract", Failures::unknownContract);
        all.put("unknown-channel", Failures::unknownChannel);
        all.put("submit-error", Failures::submitError);
        all.put("commit-error", Failures::commitError);
        return all;
    }

    /** The words of an exception and of its details. */
    static String words(GatewayException error) {
        var said = new StringBuilder(String.valueOf(error.getMessage()));
        said.append(' ').append(error.getStatus().getDescription());
        error.getDetails().forEach(each -> said.append('\n').append(each.getMessage()));
        return said.toString();
    }

    private static void isRefusal(String words) {
        Checks.verify(REFUSED.matcher(words).find(), words);
    }

    private static void ofAQuery(World world) throws Exception {
        var contract = world.contract();
        var error =
                Checks.failure(
                        GatewayException.class,
                        () -> contract.evaluateTransaction("Refuse", REASON));
        Checks.equal(error.getStatus().getCode(), Code.UNKNOWN);
        isRefusal(error.getStatus().getDescription());
        var members = error.getDetails().stream().map(ErrorDetail::getMspId).toList();
        Checks.equal(members, List.of(world.home));
    }

    private static void ofATransaction(World world) throws Exception {
        var contract = world.contract();
        var error =
                Checks.failure(
                        EndorseException.class,
                        () -> contract.submitTransaction("Refuse", REASON));
        Checks.equal(error.getStatus().getCode(), Code.ABORTED);
        Checks.contains(words(error), "failed to endorse transaction, see attached details");
        Checks.verify(error.getTransactionId().matches("[0-9a-f]{64}"), error);
        var detail = error.getDetails().get(0);
        Checks.equal(detail.getMspId(), world.home);
        Checks.verify(detail.getAddress().matches(".*:\\d+"), detail.getAddress());
        isRefusal(detail.getMessage());
    }

    private static void namesTwoPeers(World world) throws Exception {
        for (var organisations :
                List.of(List.of(world.home, world.second), List.of(world.second, world.third))) {
            var proposal =
                    world.contract()
                            .newProposal("Refuse")
                            .addArguments(REASON)
                            .setEndorsingOrganizations(organisations.toArray(String[]::new))
                            .build();
            var error = Checks.failure(EndorseException.class, proposal::endorse);
            Checks.equal(error.getStatus().getCode(), Code.ABORTED);
            Checks.contains(words(error), "failed to collect enough transaction endorsements");
            var details = error.getDetails();
            Checks.equal(
                    details.stream().map(ErrorDetail::getMspId).sorted().toList(),
                    organisations.stream().sorted().toList());
            Checks.equal(details.stream().map(ErrorDetail::getAddress).distinct().count(), 2L);
            details.forEach(each -> isRefusal(each.getMessage()));
        }
    }

    private static void unknownOrganisation(World world) throws Exception {
        var proposal =
                world.contract()
                        .newProposal("Put")
                        .addArguments(world.key("k"), "v")
                        .setEndorsingOrganizations(world.home, "NobodyMSP")
                        .build();
        var error = Checks.failure(EndorseException.class, proposal::endorse);
        Checks.equal(error.getStatus().getCode(), Code.UNAVAILABLE);
        Checks.contains(
                words(error), "failed to find any endorsing peers for org(s): NobodyMSP");
    }

    private static void unknownContract(World world) throws Exception {
        var contract = world.network().getContract("nobody");
        var error =
                Checks.failure(
                        EndorseException.class, () -> contract.submitTransaction("Put", "k", "v"));
        Checks.contains(words(error), "nobody");
    }

    private static void unknownChannel(World world) throws Exception {
        var network = world.gateway(world.home).getNetwork("elsewhere");
        var contract = network.getContract(world.settings.contract());
        var error =
                Checks.failure(
                        EndorseException.class, () -> contract.submitTransaction("Put", "k", "v"));
        Checks.contains(words(error), "elsewhere");
    }

    private static void submitError(World world) throws Exception {
        var proposal = world.contract().newProposal("Put").addArguments(world.key("forged"), "x");
        var endorsed = proposal.build().endorse();
        var signature = world.member(world.second).signer().sign(endorsed.getDigest());
        var forged =
                world.gateway(world.home).newSignedTransaction(endorsed.getBytes(), signature);
        var error = Checks.failure(SubmitException.class, forged::submitAsync);
        Checks.equal(error.getStatus().getCode(), Code.ABORTED);
        Checks.contains(
                words(error), "unsuccessful response from orderer: status=FORBIDDEN");
        Checks.equal(error.getTransactionId(), endorsed.getTransactionId());
        Checks.equal(world.get("forged"), "");
    }

    private static void commitError(World world) throws Exception {
        var proposal =
                world.contract()
                        .newProposal("Put")
                        .addArguments(world.key("endorsed by one"), "x")
                        .setEndorsingOrganizations(world.home)
                        .build();
        var transaction = proposal.endorse();
        var error = Checks.failure(CommitException.class, transaction::submit);
        Checks.equal(error.getCode(), TxValidationCode.ENDORSEMENT_POLICY_FAILURE);
        Checks.contains(error.getMessage(), "ENDORSEMENT_POLICY_FAILURE");
        Checks.equal(error.getTransactionId(), transaction.getTransactionId());
    }
}
