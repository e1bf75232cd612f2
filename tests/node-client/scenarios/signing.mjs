// Offline signing: the key is elsewhere, bytes and digests travel; the gateway that signs nothing.

import { hash } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import { newSigner, openGateway } from '../member.mjs';
import { rejection, takeUntil, UTF8 } from '../world.mjs';

async function withoutSigner(world) {
    const member = await world.member();
    const gateway = openGateway(world.client(member), member, { signer: undefined });
    return { gateway, contract: world.contractOf(gateway), sign: newSigner(member) };
}

export default {
    async 'offline-signing-needs-a-signature'(world) {
        const { gateway, contract } = await withoutSigner(world);
        const error = await rejection(contract.evaluateTransaction('WhoAmI'));
        assert.match(error.message, /No signing implementation/);
        gateway.close();
    },

    async 'offline-signing-of-a-query'(world) {
        const { gateway, contract, sign } = await withoutSigner(world);
        const unsigned = contract.newProposal('WhoAmI');
        const signature = await sign(unsigned.getDigest());
        const proposal = gateway.newSignedProposal(unsigned.getBytes(), signature);
        assert.equal(UTF8.decode(await proposal.evaluate()), world.home);
        gateway.close();
    },

    async 'offline-signing-of-a-transaction'(world) {
        const { gateway, contract, sign } = await withoutSigner(world);
        const transaction = await endorsed(gateway, contract, sign, world.key('offline'));
        const commit = await transaction.submit();
        // The status is asked by somebody who has a key.
        const status = await (await world.gateway()).newCommit(commit.getBytes()).getStatus();
        assert.ok(status.successful, `code ${status.code}`);
        assert.equal(status.transactionId, transaction.getTransactionId());
        gateway.close();
    },

    async 'offline-signing-of-a-commit-status'(world) {
        const { gateway, contract, sign } = await withoutSigner(world);
        const transaction = await endorsed(gateway, contract, sign, world.key('offline status'));
        const unsigned = await transaction.submit();
        const signature = await sign(unsigned.getDigest());
        const status = await gateway.newSignedCommit(unsigned.getBytes(), signature).getStatus();
        assert.ok(status.successful, `code ${status.code}`);
        assert.equal(status.transactionId, transaction.getTransactionId());
        gateway.close();
    },

    async 'offline-signing-of-chaincode-events'(world) {
        const [{ transactionId, blockNumber }] = await world.add('signed events', 1);
        const event = await firstOf(world, blockNumber, 'ChaincodeEvents', world.settings.contract);
        assert.equal(event.transactionId, transactionId);
    },

    async 'offline-signing-of-block-events'(world) {
        const startBlock = (await world.nextBlock()) - 1n;
        const block = await firstOf(world, startBlock, 'BlockEvents');
        assert.equal(BigInt(block.getHeader().getNumber()), startBlock);
    },

    async 'offline-signing-of-filtered-block-events'(world) {
        const startBlock = (await world.nextBlock()) - 1n;
        const block = await firstOf(world, startBlock, 'FilteredBlockEvents');
        assert.equal(BigInt(block.getNumber()), startBlock);
    },

    async 'offline-signing-of-private-block-events'(world) {
        const startBlock = (await world.nextBlock()) - 1n;
        const taken = await firstOf(world, startBlock, 'BlockAndPrivateDataEvents');
        assert.equal(BigInt(taken.getBlock().getHeader().getNumber()), startBlock);
    },

    async 'the-signer-may-do-the-hashing'(world) {
        // With hash.none the signer gets the whole message, as a key that hashes for itself wants.
        const member = await world.member();
        const sign = newSigner(member);
        const gateway = openGateway(world.client(member), member, {
            hash: hash.none,
            signer: (message) => sign(hash.sha256(message)),
        });
        const contract = world.contractOf(gateway);
        assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), world.home);
        gateway.close();
    },
};

/** Endorse a transaction and sign it, all of it elsewhere. */
async function endorsed(gateway, contract, sign, key) {
    const proposal = contract.newProposal('Add', { arguments: [key, '9'] });
    const signature = await sign(proposal.getDigest());
    const transaction = await gateway.newSignedProposal(proposal.getBytes(), signature).endorse();
    assert.equal(transaction.getTransactionId(), proposal.getTransactionId());
    return gateway.newSignedTransaction(
        transaction.getBytes(),
        await sign(transaction.getDigest()),
    );
}

/** The first of a stream that is asked for with a request signed elsewhere. */
async function firstOf(world, startBlock, kind, ...names) {
    const { gateway, sign } = await withoutSigner(world);
    const network = gateway.getNetwork(world.settings.channel);
    const request = network[`new${kind}Request`](...names, { startBlock });
    const signature = await sign(request.getDigest());
    const signed = gateway[`newSigned${kind}Request`](request.getBytes(), signature);
    const [first] = await takeUntil(await signed.getEvents(), () => true);
    gateway.close();
    return first;
}
