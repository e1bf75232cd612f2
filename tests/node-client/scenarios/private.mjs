// Private data: in a collection, and with blocks.

import { GatewayError } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { rejection, takeUntil, UTF8 } from '../world.mjs';

/** Put a value that nobody else has into the collection, and return it with the status. */
async function put(world, name) {
    const contract = await world.contract();
    const value = crypto.randomBytes(16).toString('hex');
    const proposal = contract.newProposal('PutPrivate', {
        arguments: [world.settings.collection, world.key(name)],
        transientData: { value },
    });
    const transaction = await proposal.endorse();
    const status = await (await transaction.submit()).getStatus();
    assert.ok(status.successful, `code ${status.code}`);
    return { value, transaction, status };
}

/** The first block with private data from a number on, as a member's user gets it. */
async function block(world, mspId, startBlock) {
    const network = await world.network(mspId);
    const stream = await network.getBlockAndPrivateDataEvents({ startBlock });
    const [taken] = await takeUntil(stream, () => true);
    assert.equal(BigInt(taken.getBlock().getHeader().getNumber()), startBlock);
    return taken;
}

export default {
    async 'private-data'(world) {
        const { value, transaction, status } = await put(world, 'private');
        const bytes = Buffer.from(transaction.getBytes());
        assert.ok(!bytes.includes(value));
        for (const mspId of world.members) {
            const isMember = [world.home, world.second].includes(mspId);
            assert.equal(bytes.includes(mspId), isMember, mspId);
        }
        const args = [world.settings.collection, world.key('private')];
        for (const mspId of [world.home, world.second]) {
            const contract = await world.contract(mspId);
            const read = await contract.evaluateTransaction('GetPrivate', ...args);
            assert.equal(UTF8.decode(read), value, mspId);
        }
        // Another organisation's peer may have the block a little later.
        await block(world, world.third, status.blockNumber);
        const hash = await (await world.contract(world.third)).evaluateTransaction(
            'HashPrivate',
            ...args,
        );
        const digest = crypto.createHash('sha256').update(value).digest('hex');
        assert.equal(UTF8.decode(hash), digest);
    },

    async 'private-data-of-others'(world) {
        await put(world, 'not yours');
        const contract = await world.contract(world.third);
        const args = [world.settings.collection, world.key('not yours')];
        const error = await rejection(contract.evaluateTransaction('GetPrivate', ...args));
        assert.ok(error instanceof GatewayError, error.stack);
        assert.match(error.message, /does not have read access permission on privatedata/);
    },

    async 'private-block-events'(world) {
        const [{ transactionId, blockNumber }] = await world.add('without private data', 1);
        const network = await world.network();
        const stream = await network.getBlockAndPrivateDataEvents({ startBlock: blockNumber });
        const [taken] = await takeUntil(stream, () => true);
        assert.equal(BigInt(taken.getBlock().getHeader().getNumber()), blockNumber);
        const data = taken.getBlock().getData().getDataList_asU8();
        const place = data.findIndex((each) => Buffer.from(each).includes(transactionId));
        assert.ok(place >= 0, 'the transaction is not in its block');
        assert.equal(taken.getPrivateDataMapMap().get(place), undefined);
    },

    async 'private-block-events-with-data'(world) {
        const { value, status } = await put(world, 'with a block');
        const taken = await block(world, world.home, status.blockNumber);
        const data = taken.getBlock().getData().getDataList_asU8();
        const id = status.transactionId;
        const place = data.findIndex((each) => Buffer.from(each).includes(id));
        const sets = taken.getPrivateDataMapMap().get(place);
        const [set] = sets.getNsPvtRwsetList().flatMap((each) => each.getCollectionPvtRwsetList());
        assert.equal(set.getCollectionName(), world.settings.collection);
        assert.ok(Buffer.from(set.getRwset_asU8()).includes(value));
        assert.ok(!Buffer.from(taken.getBlock().serializeBinary()).includes(value));
        const others = await block(world, world.third, status.blockNumber);
        assert.ok(!Buffer.from(others.serializeBinary()).includes(value));
    },
};
