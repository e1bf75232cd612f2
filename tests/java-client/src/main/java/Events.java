import io.grpc.ManagedChannel;
import io.grpc.Status.Code;
import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.hyperledger.fabric.client.ChaincodeEvent;
import org.hyperledger.fabric.client.CloseableIterator;
import org.hyperledger.fabric.client.FileCheckpointer;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.GatewayRuntimeException;
import org.hyperledger.fabric.client.InMemoryCheckpointer;
import org.hyperledger.fabric.client.Status;
import org.hyperledger.fabric.protos.common.Block;
import org.hyperledger.fabric.protos.common.BlockHeader;
import org.hyperledger.fabric.protos.peer.FilteredBlock;
import org.hyperledger.fabric.protos.peer.TxValidationCode;

/** Events of the contract, of blocks, filtered blocks and blocks with private data. */
final class Events {
    private Events() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("chaincode-events-from-a-block", Events::fromABlock);
        all.put("chaincode-events-from-now", Events::fromNow);
        all.put("chaincode-events-of-valid-transactions-only", Events::ofValidTransactionsOnly);
        all.put("chaincode-events-from-a-checkpoint", Events::fromACheckpoint);
        all.put("chaincode-events-after-a-restart", Events::afterARestart);
        all.put("block-events", Events::blocks);
        all.put("block-events-from-a-checkpoint", Events::blocksFromACheckpoint);
        all.put("filtered-block-events", Events::filteredBlocks);
        all.put("events-of-an-unknown-channel", Events::ofAnUnknownChannel);
        return all;
    }

    private static CloseableIterator<ChaincodeEvent> listen(World world, long startBlock)
            throws Exception {
        var request = world.network().newChaincodeEventsRequest(world.settings.contract());
        return request.startBlock(startBlock).build().getEvents();
    }

    private static void fromABlock(World world) throws Exception {
        var statuses = world.add("heard", 3);
        var stream = listen(world, statuses.get(0).getBlockNumber());
        var taken = World.takeUntil(stream, all -> all.size() == 3);
        for (int index = 0; index < 3; index++) {
            var event = taken.get(index);
            Checks.equal(event.getBlockNumber(), statuses.get(index).getBlockNumber());
            Checks.equal(event.getTransactionId(), statuses.get(index).getTransactionId());
            Checks.equal(Checks.text(event.getPayload()), String.valueOf(index + 1));
            Checks.equal(event.getEventName(), "Added");
            Checks.equal(event.getChaincodeName(), world.settings.contract());
        }
    }

    private static void fromNow(World world) throws Exception {
        var stream = world.network().getChaincodeEvents(world.settings.contract());
        var heard = CompletableFuture.supplyAsync(
                () -> World.first(stream), work -> new Thread(work).start());
        // The client says nothing when the stream stands; so it is told again until it hears.
        Set<String> ids = ConcurrentHashMap.newKeySet();
        while (!heard.isDone()) {
            ids.add(world.add("now", 1).get(0).getTransactionId());
        }
        Checks.verify(ids.contains(heard.get().getTransactionId()), "an event of before");
    }

    private static void ofValidTransactionsOnly(World world) throws Exception {
        var statuses = world.conflict("only valid");
        var last = world.add("after the conflict", 1).get(0).getTransactionId();
        var stream = listen(world, statuses.get(0).getBlockNumber());
        var taken =
                World.takeUntil(
                        stream, all -> World.last(all).getTransactionId().equals(last));
        var ids = taken.stream().map(ChaincodeEvent::getTransactionId).toList();
        Checks.equal(ids, List.of(statuses.get(0).getTransactionId(), last));
    }

    private static void fromACheckpoint(World world) throws Exception {
        var statuses = world.add("checkpoint", 4);
        var file = newFile();
        List<String> heard = new ArrayList<>();
        // Two runs of a listener, each with a connection and a reading of the file of its own.
        for (int run = 0; run < 2; run++) {
            heard.addAll(listen(world, world.home, file, statuses, 2));
        }
        Checks.equal(heard, ids(statuses));
    }

    private static void afterARestart(World world) throws Exception {
        var restart = world.settings.restart();
        List<Status> statuses = new ArrayList<>(world.add("restart", 2));
        var file = newFile();
        List<String> heard = new ArrayList<>(listen(world, restart.mspId(), file, statuses, 1));

        // A stream that is open when the peer stops must end.
        var member = world.member(restart.mspId());
        ManagedChannel channel = member.connect();
        try (Gateway gateway = member.gateway(channel).connect()) {
            var network = gateway.getNetwork(world.settings.channel());
            var request =
                    network.newChaincodeEventsRequest(world.settings.contract())
                            .startBlock(statuses.get(0).getBlockNumber())
                            .build();
            var open = request.getEvents();
            Checks.equal(open.next().getTransactionId(), ids(statuses).get(0));
            World.command(restart.stop());
            ends(open, 10);
            statuses.addAll(world.add("restart", 2));
            World.command(restart.start());
            heard.addAll(listen(world, restart.mspId(), file, statuses, 3));
            Checks.equal(heard, ids(statuses));
            channel.resetConnectBackoff();
            var again = world.contractOf(gateway).newProposal("WhoAmI").build();
            var answer =
                    again.evaluate(
                            call -> call.withWaitForReady().withDeadlineAfter(30, TimeUnit.SECONDS));
            Checks.equal(Checks.text(answer), restart.mspId());
        } finally {
            channel.shutdownNow();
        }
    }

    private static void blocks(World world) throws Exception {
        var status = world.add("in a block", 1).get(0);
        long firstBlock = world.settings.firstBlock();
        var request = world.network().newBlockEventsRequest().startBlock(firstBlock).build();
        var blocks =
                World.takeUntil(
                        request.getEvents(),
                        all -> World.last(all).getHeader().getNumber() == status.getBlockNumber());
        Block before = null;
        for (var block : blocks) {
            var header = block.getHeader();
            Checks.equal(header.getNumber(), firstBlock++);
            var data = MessageDigest.getInstance("SHA-256");
            block.getData().getDataList().forEach(each -> data.update(each.toByteArray()));
            same(header.getDataHash().toByteArray(), data.digest());
            if (before != null) {
                same(header.getPreviousHash().toByteArray(), headerHash(before.getHeader()));
            }
            before = block;
        }
        var id = Checks.bytes(status.getTransactionId());
        Checks.verify(
                before.getData().getDataList().stream()
                        .anyMatch(each -> Checks.holds(each.toByteArray(), id)),
                "the transaction stands in its block");
    }

    private static void blocksFromACheckpoint(World world) throws Exception {
        var statuses = world.add("blocks from a checkpoint", 2);
        var checkpoint = new InMemoryCheckpointer();
        checkpoint.checkpointBlock(statuses.get(0).getBlockNumber());
        var request = world.network().newFilteredBlockEventsRequest().startBlock(0);
        var block = World.first(request.checkpoint(checkpoint).build().getEvents());
        Checks.equal(block.getNumber(), statuses.get(0).getBlockNumber() + 1);
    }

    private static void filteredBlocks(World world) throws Exception {
        var statuses = world.conflict("filtered");
        var request =
                world.network()
                        .newFilteredBlockEventsRequest()
                        .startBlock(statuses.get(0).getBlockNumber())
                        .build();
        List<FilteredBlock> blocks =
                World.takeUntil(
                        request.getEvents(),
                        all -> World.last(all).getNumber() == statuses.get(1).getBlockNumber());
        Map<String, TxValidationCode> codes = new HashMap<>();
        for (var block : blocks) {
            Checks.equal(block.getChannelId(), world.settings.channel());
            for (var each : block.getFilteredTransactionsList()) {
                codes.put(each.getTxid(), each.getTxValidationCode());
                for (var action : each.getTransactionActions().getChaincodeActionsList()) {
                    Checks.equal(action.getChaincodeEvent().getPayload().size(), 0);
                }
            }
        }
        Checks.equal(codes.get(ids(statuses).get(0)), TxValidationCode.VALID);
        Checks.equal(codes.get(ids(statuses).get(1)), TxValidationCode.MVCC_READ_CONFLICT);
    }

    private static void ofAnUnknownChannel(World world) throws Exception {
        var network = world.gateway(world.home).getNetwork("elsewhere");
        var request =
                network.newChaincodeEventsRequest(world.settings.contract()).startBlock(0).build();
        var error =
                Checks.failure(
                        GatewayRuntimeException.class, () -> World.first(request.getEvents()));
        var told = Set.of(Code.NOT_FOUND, Code.PERMISSION_DENIED);
        Checks.verify(told.contains(error.getStatus().getCode()), error);
        var blocks = network.newBlockEventsRequest().startBlock(0).build();
        isRefused(blocks.getEvents(), "NOT_FOUND");
    }

    /** A stream of blocks that is refused has none; this client tells the status in words. */
    static void isRefused(CloseableIterator<Block> stream, String status) throws Exception {
        try (stream) {
            var error = Checks.failure(NoSuchElementException.class, stream::next);
            Checks.contains(error.getMessage(), status);
        }
    }

    /** Wait until a stream ends, however it does. */
    static <T> void ends(CloseableIterator<T> stream, long withinSeconds) throws Exception {
        var ended = CompletableFuture.runAsync(() -> {
            try {
                while (stream.hasNext()) {
                    stream.next();
                }
            } catch (GatewayRuntimeException told) {
                return;
            }
        }, work -> new Thread(work).start());
        ended.get(withinSeconds, TimeUnit.SECONDS);
    }

    private static Path newFile() throws Exception {
        var folder = Files.createTempDirectory("checkpoint-");
        folder.toFile().deleteOnExit();
        var file = folder.resolve("listener.json");
        file.toFile().deleteOnExit();
        return file;
    }

    /** Take some events at a member's gateway, from the file's checkpoint on; return their ids. */
    private static List<String> listen(
            World world, String mspId, Path file, List<Status> statuses, int count)
            throws Exception {
        var member = world.member(mspId);
        ManagedChannel channel = member.connect();
        try (var checkpoint = new FileCheckpointer(file);
                Gateway gateway = member.gateway(channel).connect()) {
            var request =
                    gateway.getNetwork(world.settings.channel())
                            .newChaincodeEventsRequest(world.settings.contract())
                            .startBlock(statuses.get(0).getBlockNumber())
                            .checkpoint(checkpoint)
                            .build();
            var taken = World.takeUntil(request.getEvents(), all -> all.size() == count);
            checkpoint.checkpointChaincodeEvent(World.last(taken));
            return taken.stream().map(ChaincodeEvent::getTransactionId).toList();
        } finally {
            channel.shutdownNow();
        }
    }

    private static List<String> ids(List<Status> statuses) {
        return statuses.stream().map(Status::getTransactionId).toList();
    }

    private static void same(byte[] got, byte[] expected) {
        Checks.verify(Arrays.equals(got, expected), "another hash");
    }

    /** Fabric's hash of a header: SHA-256 of the DER of number, previous hash and data hash. */
    private static byte[] headerHash(BlockHeader header) throws Exception {
        var fields = new ByteArrayOutputStream();
        der(fields, 0x02, new BigInteger(Long.toUnsignedString(header.getNumber())).toByteArray());
        der(fields, 0x04, header.getPreviousHash().toByteArray());
        der(fields, 0x04, header.getDataHash().toByteArray());
        var sequence = new ByteArrayOutputStream();
        der(sequence, 0x30, fields.toByteArray());
        return MessageDigest.getInstance("SHA-256").digest(sequence.toByteArray());
    }

    private static void der(ByteArrayOutputStream into, int tag, byte[] content) {
        into.write(tag);
        into.write(content.length);
        into.writeBytes(content);
    }
}
