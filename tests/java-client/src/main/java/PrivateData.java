import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.client.Status;
import org.hyperledger.fabric.client.Transaction;
import org.hyperledger.fabric.protos.peer.BlockAndPrivateData;

/** Private data: in a collection, and with blocks. */
final class PrivateData {
    private PrivateData() {}

    static Map<String, Scenario> scenarios() {
        return Map.of(
                "private-data", PrivateData::inACollection,
                "private-data-of-others", PrivateData::ofOthers,
                "private-block-events", PrivateData::withoutData,
                "private-block-events-with-data", PrivateData::withData);
    }

    /** A value that was put into the collection, and the transaction that did it. */
    private record Put(String value, Transaction transaction, Status status) {}

    private static Put put(World world, String name) throws Exception {
        byte[] secret = new byte[16];
        new SecureRandom().nextBytes(secret);
        var value = HexFormat.of().formatHex(secret);
        var proposal =
                world.contract()
                        .newProposal("PutPrivate")
                        .addArguments(world.settings.collection(), world.key(name))
                        .putTransient("value", value)
                        .build();
        var transaction = proposal.endorse();
        var status = transaction.submitAsync().getStatus();
        Checks.verify(status.isSuccessful(), status.getCode());
        return new Put(value, transaction, status);
    }

    /** A block with private data as a member's user gets it. */
    private static BlockAndPrivateData block(World world, String mspId, long number)
            throws Exception {
        var network = world.gateway(mspId).getNetwork(world.settings.channel());
        var request = network.newBlockAndPrivateDataEventsRequest().startBlock(number).build();
        var taken = World.first(request.getEvents());
        Checks.equal(taken.getBlock().getHeader().getNumber(), number);
        return taken;
    }

    private static void inACollection(World world) throws Exception {
        var put = put(world, "private");
        var raw = put.transaction().getBytes();
        Checks.verify(!Checks.holds(raw, Checks.bytes(put.value())), "it is in the transaction");
        var members = List.of(world.home, world.second);
        for (var each : world.settings.members()) {
            var id = each.mspId();
            Checks.equal(id + Checks.holds(raw, Checks.bytes(id)), id + members.contains(id));
        }
        String[] arguments = {world.settings.collection(), world.key("private")};
        for (var each : members) {
            var contract = world.contractOf(world.gateway(each));
            var read = contract.evaluateTransaction("GetPrivate", arguments);
            Checks.equal(Checks.text(read), put.value());
        }
        // Another organisation's peer may have the block a little later.
        block(world, world.third, put.status().getBlockNumber());
        var contract = world.contractOf(world.gateway(world.third));
        var hash = contract.evaluateTransaction("HashPrivate", arguments);
        Checks.equal(Checks.text(hash), Transactions.hexDigest(Checks.bytes(put.value())));
    }

    private static void ofOthers(World world) throws Exception {
        put(world, "not yours");
        var contract = world.contractOf(world.gateway(world.third));
        String[] arguments = {world.settings.collection(), world.key("not yours")};
        var error =
                Checks.failure(
                        GatewayException.class,
                        () -> contract.evaluateTransaction("GetPrivate", arguments));
        Checks.contains(
                Failures.words(error), "does not have read access permission on privatedata");
    }

    private static void withoutData(World world) throws Exception {
        var status = world.add("without private data", 1).get(0);
        var request =
                world.network()
                        .newBlockAndPrivateDataEventsRequest()
                        .startBlock(status.getBlockNumber())
                        .build();
        var taken = World.first(request.getEvents());
        Checks.equal(taken.getBlock().getHeader().getNumber(), status.getBlockNumber());
        var data = taken.getBlock().getData().getDataList();
        var id = Checks.bytes(status.getTransactionId());
        for (int index = 0; index < data.size(); index++) {
            if (Checks.holds(data.get(index).toByteArray(), id)) {
                Checks.verify(!taken.containsPrivateDataMap(index), "there should be none");
                return;
            }
        }
        throw new AssertionError("the transaction is not in its block");
    }

    private static void withData(World world) throws Exception {
        var put = put(world, "with a block");
        var value = Checks.bytes(put.value());
        var taken = block(world, world.home, put.status().getBlockNumber());
        var data = taken.getBlock().getData().getDataList();
        var id = Checks.bytes(put.status().getTransactionId());
        for (int index = 0; index < data.size(); index++) {
            if (Checks.holds(data.get(index).toByteArray(), id)) {
                var sets = taken.getPrivateDataMapOrThrow(index);
                var set = sets.getNsPvtRwset(0).getCollectionPvtRwset(0);
                Checks.equal(set.getCollectionName(), world.settings.collection());
                Checks.verify(Checks.holds(set.getRwset().toByteArray(), value), "not in its set");
            }
        }
        Checks.verify(!Checks.holds(taken.getBlock().toByteArray(), value), "it is in the block");
        var others = block(world, world.third, put.status().getBlockNumber());
        Checks.verify(!Checks.holds(others.toByteArray(), value), "another member gets it");
    }
}
