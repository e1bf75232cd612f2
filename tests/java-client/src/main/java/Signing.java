import java.util.LinkedHashMap;
import java.util.Map;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.Hash;
import org.hyperledger.fabric.client.Network;
import org.hyperledger.fabric.client.Proposal;
import org.hyperledger.fabric.client.Transaction;
import org.hyperledger.fabric.client.identity.Signer;

/** Offline signing: the key is elsewhere, bytes and digests travel; the gateway signs nothing. */
final class Signing {
    private Signing() {}

    /** A scenario for a gateway without a signer, and a key beside it. */
    @FunctionalInterface
    private interface Offline {
        void run(World world, Gateway gateway, Signer key) throws Exception;
    }

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("offline-signing-needs-a-signature", offline(Signing::needsASignature));
        all.put("offline-signing-of-a-query", offline(Signing::query));
        all.put("offline-signing-of-a-transaction", offline(Signing::transaction));
        all.put("offline-signing-of-a-commit-status", offline(Signing::commitStatus));
        all.put("offline-signing-of-chaincode-events", offline(Signing::chaincodeEvents));
        all.put("offline-signing-of-block-events", offline(Signing::blockEvents));
        all.put("offline-signing-of-filtered-block-events", offline(Signing::filteredBlocks));
        all.put("offline-signing-of-private-block-events", offline(Signing::privateBlocks));
        all.put("the-signer-may-do-the-hashing", Signing::signerHashes);
        return all;
    }

    private static Scenario offline(Offline scenario) {
        return world -> {
            var member = world.member(world.home);
            try (Gateway gateway = member.unsigned(world.channel(member)).connect()) {
                scenario.run(world, gateway, member.signer());
            }
        };
    }

    private static void needsASignature(World world, Gateway gateway, Signer key)
            throws Exception {
        var contract = world.contractOf(gateway);
        var error =
                Checks.failure(
                        UnsupportedOperationException.class,
                        () -> contract.evaluateTransaction("WhoAmI"));
        Checks.contains(error.getMessage(), "No signing implementation");
    }

    private static void query(World world, Gateway gateway, Signer key) throws Exception {
        var unsigned = world.contractOf(gateway).newProposal("WhoAmI").build();
        var signature = key.sign(unsigned.getDigest());
        var proposal = gateway.newSignedProposal(unsigned.getBytes(), signature);
        Checks.equal(Checks.text(proposal.evaluate()), world.home);
    }

    /** Endorse a transaction and sign it, all of it elsewhere. */
    private static Transaction endorsed(World world, Gateway gateway, Signer key, String name)
            throws Exception {
        Proposal unsigned =
                world.contractOf(gateway)
                        .newProposal("Add")
                        .addArguments(world.key(name), "9")
                        .build();
        var signature = key.sign(unsigned.getDigest());
        var transaction = gateway.newSignedProposal(unsigned.getBytes(), signature).endorse();
        Checks.equal(transaction.getTransactionId(), unsigned.getTransactionId());
        signature = key.sign(transaction.getDigest());
        return gateway.newSignedTransaction(transaction.getBytes(), signature);
    }

    private static void transaction(World world, Gateway gateway, Signer key) throws Exception {
        var transaction = endorsed(world, gateway, key, "offline");
        var commit = transaction.submitAsync();
        // The status is asked by somebody who has a key.
        var status = world.gateway(world.home).newCommit(commit.getBytes()).getStatus();
        Checks.verify(status.isSuccessful(), status.getCode());
        Checks.equal(status.getTransactionId(), transaction.getTransactionId());
    }

    private static void commitStatus(World world, Gateway gateway, Signer key) throws Exception {
        var transaction = endorsed(world, gateway, key, "offline status");
        var unsigned = transaction.submitAsync();
        var signature = key.sign(unsigned.getDigest());
        var status = gateway.newSignedCommit(unsigned.getBytes(), signature).getStatus();
        Checks.verify(status.isSuccessful(), status.getCode());
        Checks.equal(status.getTransactionId(), transaction.getTransactionId());
    }

    private static Network network(World world, Gateway gateway) {
        return gateway.getNetwork(world.settings.channel());
    }

    private static void chaincodeEvents(World world, Gateway gateway, Signer key)
            throws Exception {
        var status = world.add("signed events", 1).get(0);
        var unsigned =
                network(world, gateway)
                        .newChaincodeEventsRequest(world.settings.contract())
                        .startBlock(status.getBlockNumber())
                        .build();
        var signature = key.sign(unsigned.getDigest());
        var request = gateway.newSignedChaincodeEventsRequest(unsigned.getBytes(), signature);
        var event = World.first(request.getEvents());
        Checks.equal(event.getTransactionId(), status.getTransactionId());
    }

    private static void blockEvents(World world, Gateway gateway, Signer key) throws Exception {
        long start = world.nextBlock() - 1;
        var unsigned = network(world, gateway).newBlockEventsRequest().startBlock(start).build();
        var signature = key.sign(unsigned.getDigest());
        var request = gateway.newSignedBlockEventsRequest(unsigned.getBytes(), signature);
        Checks.equal(World.first(request.getEvents()).getHeader().getNumber(), start);
    }

    private static void filteredBlocks(World world, Gateway gateway, Signer key)
            throws Exception {
        long start = world.nextBlock() - 1;
        var network = network(world, gateway);
        var unsigned = network.newFilteredBlockEventsRequest().startBlock(start).build();
        var signature = key.sign(unsigned.getDigest());
        var request = gateway.newSignedFilteredBlockEventsRequest(unsigned.getBytes(), signature);
        Checks.equal(World.first(request.getEvents()).getNumber(), start);
    }

    private static void privateBlocks(World world, Gateway gateway, Signer key) throws Exception {
        long start = world.nextBlock() - 1;
        var network = network(world, gateway);
        var unsigned = network.newBlockAndPrivateDataEventsRequest().startBlock(start).build();
        var signature = key.sign(unsigned.getDigest());
        var request =
                gateway.newSignedBlockAndPrivateDataEventsRequest(unsigned.getBytes(), signature);
        var taken = World.first(request.getEvents());
        Checks.equal(taken.getBlock().getHeader().getNumber(), start);
    }

    private static void signerHashes(World world) throws Exception {
        // With Hash.NONE the signer gets the whole message, as a key that hashes for itself wants.
        var member = world.member(world.home);
        var key = member.signer();
        var builder =
                member.gateway(world.channel(member))
                        .hash(Hash.NONE)
                        .signer(message -> key.sign(Hash.SHA256.apply(message)));
        try (Gateway gateway = builder.connect()) {
            var answer = world.contractOf(gateway).evaluateTransaction("WhoAmI");
            Checks.equal(Checks.text(answer), world.home);
        }
    }
}
