import io.grpc.ManagedChannel;
import io.grpc.Status.Code;
import java.security.interfaces.ECPrivateKey;
import java.security.interfaces.EdECPrivateKey;
import java.util.Arrays;
import java.util.Map;
import org.hyperledger.fabric.client.EndorseException;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.client.GatewayRuntimeException;
import org.hyperledger.fabric.client.Hash;
import org.hyperledger.fabric.client.identity.Identities;

/** Connecting: TLS, and the identities that a gateway takes. */
final class Connecting {
    private Connecting() {}

    static Map<String, Scenario> scenarios() {
        return Map.of(
                "connect-over-tls", Connecting::overTls,
                "connect-with-another-authority", Connecting::withAnotherAuthority,
                "identity-p256", Connecting::p256,
                "identity-p384", Connecting::p384,
                "identity-ed25519", Connecting::ed25519,
                "identity-with-another-key", Connecting::withAnotherKey);
    }

    private static void overTls(World world) throws Exception {
        var member = world.member(world.home);
        ManagedChannel channel = member.connect();
        try (Gateway gateway = member.gateway(channel).connect()) {
            var answer = world.contractOf(gateway).evaluateTransaction("WhoAmI");
            Checks.equal(Checks.text(answer), world.home);
        } finally {
            channel.shutdownNow();
        }
    }

    private static void withAnotherAuthority(World world) throws Exception {
        var member = world.member(world.home);
        ManagedChannel channel = member.connect(world.member(world.second).tlsAuthority());
        try (Gateway gateway = member.gateway(channel).connect()) {
            var contract = world.contractOf(gateway);
            var error =
                    Checks.failure(
                            GatewayException.class, () -> contract.evaluateTransaction("WhoAmI"));
            Checks.equal(error.getStatus().getCode(), Code.UNAVAILABLE);
        } finally {
            channel.shutdownNow();
        }
    }

    private static void p256(World world) throws Exception {
        var member = world.member(world.home);
        Checks.equal(bitsOf(member), 256);
        var seen = world.gateway(world.home).getIdentity();
        Checks.equal(seen.getMspId(), world.home);
        var certificate = Checks.bytes(Identities.toPemString(member.certificate()));
        Checks.verify(Arrays.equals(seen.getCredentials(), certificate), "another certificate");
    }

    private static void p384(World world) throws Exception {
        var member = world.member(world.home, world.settings.identities().get("P-384"));
        Checks.equal(bitsOf(member), 384);
        tryIdentity(world, member, "p384", Hash.SHA256);
    }

    private static void ed25519(World world) throws Exception {
        var member = world.member(world.home, world.settings.identities().get("Ed25519"));
        Checks.verify(member.key() instanceof EdECPrivateKey, member.key().getClass());
        tryIdentity(world, member, "ed25519", Hash.NONE);
    }

    private static int bitsOf(Member member) {
        var key = (ECPrivateKey) member.key();
        return key.getParams().getCurve().getField().getFieldSize();
    }

    /** Submit and listen as a user: all that is signed is taken. */
    private static void tryIdentity(World world, Member member, String name, Hash hash)
            throws Exception {
        var channel = world.channel(member);
        try (Gateway gateway = member.gateway(channel).hash(hash).connect()) {
            var contract = world.contractOf(gateway);
            Checks.equal(Checks.text(contract.evaluateTransaction("WhoAmI")), world.home);
            var proposal = contract.newProposal("Add").addArguments(world.key(name), "5").build();
            var status = proposal.endorse().submitAsync().getStatus();
            Checks.verify(status.isSuccessful(), status.getCode());
            var network = gateway.getNetwork(world.settings.channel());
            long start = status.getBlockNumber();
            var events = network.newChaincodeEventsRequest(world.settings.contract());
            var event = World.first(events.startBlock(start).build().getEvents());
            Checks.equal(event.getTransactionId(), status.getTransactionId());
            var blocks = network.newBlockEventsRequest().startBlock(start).build();
            Checks.equal(World.first(blocks.getEvents()).getHeader().getNumber(), start);
        }
    }

    private static void withAnotherKey(World world) throws Exception {
        var member = world.member(world.home);
        var stranger = world.member(world.second).signer();
        try (Gateway gateway =
                member.gateway(world.channel(member)).signer(stranger).connect()) {
            var contract = world.contractOf(gateway);
            var query =
                    Checks.failure(
                            GatewayException.class, () -> contract.evaluateTransaction("WhoAmI"));
            Checks.contains(Failures.words(query), "access denied");
            var refusal =
                    Checks.failure(
                            EndorseException.class,
                            () -> contract.submitTransaction("Put", world.key("stranger"), "x"));
            Checks.contains(Failures.words(refusal), "access denied");
            var network = gateway.getNetwork(world.settings.channel());
            long start = world.settings.firstBlock();
            var events = network.newChaincodeEventsRequest(world.settings.contract());
            var request = events.startBlock(start).build();
            var denied =
                    Checks.failure(
                            GatewayRuntimeException.class,
                            () -> World.first(request.getEvents()));
            Checks.equal(denied.getStatus().getCode(), Code.PERMISSION_DENIED);
            var blocks = network.newBlockEventsRequest().startBlock(start).build();
            Events.isRefused(blocks.getEvents(), "FORBIDDEN");
        }
    }
}
