// Events: of the contract, of blocks, filtered blocks and blocks with private data.

import * as grpc from '@grpc/grpc-js';
import { checkpointers, StatusCode } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import * as crypto from 'node:crypto';
import { promises as fs } from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { newClient, openGateway } from '../member.mjs';
import { ends, takeUntil, UTF8 } from '../world.mjs';

function sha256(...parts) {
    return crypto.createHash('sha256').update(Buffer.concat(parts)).digest();
}

/** Fabric's hash of a header: SHA-256 of its DER, a sequence of number, previous and data hash. */
function headerHash(header) {
    const der = (tag, content) => Buffer.from([tag, content.length, ...content]);
    const hex = header.getNumber().toString(16);
    // Two's complement: a first byte from 80 on would be a negative number.
    const digits = hex.padStart(hex.length + (hex.length % 2), '0');
    const number = Buffer.from(/^[89a-f]/.test(digits) ? `00${digits}` : digits, 'hex');
    const fields = [
        der(0x02, number),
        der(0x04, header.getPreviousHash_asU8()),
        der(0x04, header.getDataHash_asU8()),
    ];
    return sha256(der(0x30, Buffer.concat(fields)));
}

export default {
    async 'chaincode-events-from-a-block'(world) {
        const statuses = await world.add('heard', 3);
        const network = await world.network();
        const events = await network.getChaincodeEvents(world.settings.contract, {
            startBlock: statuses[0].blockNumber,
        });
        const taken = await takeUntil(events, ({ length }) => length === 3);
        assert.deepEqual(
            taken.map((each) => [each.blockNumber, each.transactionId]),
            statuses.map((each) => [each.blockNumber, each.transactionId]),
        );
        assert.deepEqual(taken.map((each) => UTF8.decode(each.payload)), ['1', '2', '3']);
        assert.ok(taken.every((each) => each.eventName === 'Added'));
        assert.ok(taken.every((each) => each.chaincodeName === world.settings.contract));
    },

    async 'chaincode-events-from-now'(world) {
        const network = await world.network();
        const events = await network.getChaincodeEvents(world.settings.contract);
        const first = takeUntil(events, () => true);
        // The client says nothing when the stream stands; so it is told again until it hears.
        let heard = false;
        first.then(() => (heard = true), () => (heard = true));
        const numbers = [];
        while (!heard) {
            numbers.push(...(await world.add('now', 1)));
        }
        const [event] = await first;
        assert.ok(numbers.some((each) => each.transactionId === event.transactionId));
    },

    async 'chaincode-events-of-valid-transactions-only'(world) {
        const [valid, invalid] = await world.conflict('only valid');
        const [last] = await world.add('after the conflict', 1);
        const network = await world.network();
        const events = await network.getChaincodeEvents(world.settings.contract, {
            startBlock: valid.blockNumber,
        });
        const isLast = (event) => event.transactionId === last.transactionId;
        const taken = await takeUntil(events, (all) => isLast(all.at(-1)));
        const ids = taken.map((each) => each.transactionId);
        assert.deepEqual(ids, [valid.transactionId, last.transactionId], invalid.transactionId);
    },

    async 'chaincode-events-from-a-checkpoint'(world) {
        const statuses = await world.add('checkpoint', 4);
        const heard = [];
        await withFile(async (file) => {
            // Two runs of a listener, each with a connection and a reading of the file of its own.
            for (const count of [2, 2]) {
                heard.push(...(await listen(world, world.home, file, statuses, count)));
            }
        });
        assert.deepEqual(heard, ids(statuses));
    },

    async 'chaincode-events-after-a-restart'(world) {
        const { mspId, stop, start } = world.settings.restart;
        const statuses = await world.add('restart', 2);
        const heard = [];
        await withFile(async (file) => {
            heard.push(...(await listen(world, mspId, file, statuses, 1)));
            // A stream that is open when the peer stops must end.
            const member = await world.member(mspId);
            const client = newClient(member);
            const gateway = openGateway(client, member);
            const open = await gateway
                .getNetwork(world.settings.channel)
                .getChaincodeEvents(world.settings.contract, {
                    startBlock: statuses[0].blockNumber,
                });
            const ended = ends(open, 60_000);
            await command(stop);
            assert.ok((await ended).count > 0, 'it was open');
            statuses.push(...(await world.add('restart', 2)));
            await command(start);
            heard.push(...(await listen(world, mspId, file, statuses, 3)));
            await promisify(client.waitForReady.bind(client))(Date.now() + 40_000);
            const contract = world.contractOf(gateway);
            assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), mspId);
            gateway.close();
            client.close();
        });
        assert.deepEqual(heard, ids(statuses));
    },

    async 'block-events'(world) {
        const { firstBlock } = world.settings;
        const network = await world.network();
        const [status] = await world.add('in a block', 1);
        const stream = await network.getBlockEvents({ startBlock: BigInt(firstBlock) });
        const number = (block) => BigInt(block.getHeader().getNumber());
        const blocks = await takeUntil(stream, (all) => number(all.at(-1)) === status.blockNumber);
        assert.deepEqual(
            blocks.map(number),
            blocks.map((_, index) => BigInt(firstBlock + index)),
        );
        for (const [index, block] of blocks.entries()) {
            const header = block.getHeader();
            const data = sha256(...block.getData().getDataList_asU8());
            assert.deepEqual(Buffer.from(header.getDataHash_asU8()), data);
            if (index > 0) {
                const before = headerHash(blocks[index - 1].getHeader());
                assert.deepEqual(Buffer.from(header.getPreviousHash_asU8()), before);
            }
        }
        const data = blocks.at(-1).getData().getDataList_asU8();
        const holds = data.some((each) => Buffer.from(each).includes(status.transactionId));
        assert.ok(holds, 'the transaction stands in its block');
    },

    async 'block-events-from-a-checkpoint'(world) {
        const [first, second] = await world.add('blocks from a checkpoint', 2);
        const checkpoint = checkpointers.inMemory();
        await checkpoint.checkpointBlock(first.blockNumber);
        const network = await world.network();
        const stream = await network.getFilteredBlockEvents({ checkpoint, startBlock: 0n });
        const [block] = await takeUntil(stream, () => true);
        assert.equal(BigInt(block.getNumber()), first.blockNumber + 1n);
        assert.ok(second.blockNumber >= first.blockNumber + 1n);
    },

    async 'filtered-block-events'(world) {
        const [valid, invalid] = await world.conflict('filtered');
        const network = await world.network();
        const stream = await network.getFilteredBlockEvents({ startBlock: valid.blockNumber });
        const number = (block) => BigInt(block.getNumber());
        const isLast = (block) => number(block) === invalid.blockNumber;
        const blocks = await takeUntil(stream, (all) => isLast(all.at(-1)));
        const codes = new Map();
        for (const block of blocks) {
            assert.equal(block.getChannelId(), world.settings.channel);
            for (const each of block.getFilteredTransactionsList()) {
                codes.set(each.getTxid(), each.getTxValidationCode());
                const actions = each.getTransactionActions()?.getChaincodeActionsList() ?? [];
                for (const action of actions) {
                    assert.equal(action.getChaincodeEvent()?.getPayload().length ?? 0, 0);
                }
            }
        }
        assert.equal(codes.get(valid.transactionId), StatusCode.VALID);
        assert.equal(codes.get(invalid.transactionId), StatusCode.MVCC_READ_CONFLICT);
    },

    async 'events-of-an-unknown-channel'(world) {
        const network = (await world.gateway()).getNetwork('elsewhere');
        const heard = await network.getChaincodeEvents(world.settings.contract, { startBlock: 0n });
        const { count, error } = await ends(heard, 10_000);
        assert.equal(count, 0);
        const told = [grpc.status.NOT_FOUND, grpc.status.PERMISSION_DENIED];
        assert.ok(told.includes(error.code), error.message);
        const blocks = await ends(await network.getBlockEvents({ startBlock: 0n }), 10_000);
        assert.equal(blocks.count, 0);
    },
};

async function withFile(work) {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'checkpoint-'));
    try {
        await work(path.join(folder, 'listener.json'));
    } finally {
        await fs.rm(folder, { recursive: true });
    }
}

/** Take some events at a member's gateway, from the file's checkpoint on, and return their ids. */
async function listen(world, mspId, file, statuses, count) {
    const checkpoint = await checkpointers.file(file);
    const member = await world.member(mspId);
    const client = newClient(member);
    const gateway = openGateway(client, member);
    const events = await gateway
        .getNetwork(world.settings.channel)
        .getChaincodeEvents(world.settings.contract, {
            checkpoint,
            startBlock: statuses[0].blockNumber,
        });
    const taken = await takeUntil(events, ({ length }) => length === count);
    await checkpoint.checkpointChaincodeEvent(taken.at(-1));
    gateway.close();
    client.close();
    return ids(taken);
}

function ids(items) {
    return items.map(({ transactionId }) => transactionId);
}

async function command([program, ...words]) {
    await promisify(execFile)(program, words);
}
