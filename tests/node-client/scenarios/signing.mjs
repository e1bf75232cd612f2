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
    async 'nothing-is-signed-without-a-key'(world) {
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
        const proposal = contract.newProposal('Add', { arguments: ['offline', '9'] });
        const signedProposal = gateway.newSignedProposal(
            proposal.getBytes(),
            await sign(proposal.getDigest()),
        );
        const transaction = await signedProposal.endorse();
        assert.equal(transaction.getTransactionId(), proposal.getTransactionId());
        const signedTransaction = gateway.newSignedTransaction(
            transaction.getBytes(),
            await sign(transaction.getDigest()),
        );
        const commit = await signedTransaction.submit();
        const signedCommit = gateway.newSignedCommit(
            commit.getBytes(),
            await sign(commit.getDigest()),
        );
        const status = await signedCommit.getStatus();
        assert.ok(status.successful, `code ${status.code}`);
        assert.equal(status.transactionId, proposal.getTransactionId());
        gateway.close();
    },

    async 'offline-signing-of-events-requests'(world) {
        const { gateway, sign } = await withoutSigner(world);
        const { channel, contract: name } = world.settings;
        const network = gateway.getNetwork(channel);
        const options = { arguments: ['signed events', '1'] };
        const added = await (await world.contract()).submitAsync('Add', options);
        const { blockNumber: startBlock } = await added.getStatus();
        const kinds = {
            ChaincodeEvents: network.newChaincodeEventsRequest(name, { startBlock }),
            BlockEvents: network.newBlockEventsRequest({ startBlock }),
            FilteredBlockEvents: network.newFilteredBlockEventsRequest({ startBlock }),
        };
        const first = {};
        for (const [kind, request] of Object.entries(kinds)) {
            const signature = await sign(request.getDigest());
            const signed = gateway[`newSigned${kind}Request`](request.getBytes(), signature);
            [first[kind]] = await takeUntil(await signed.getEvents(), () => true);
        }
        assert.equal(first.ChaincodeEvents.transactionId, added.getTransactionId());
        assert.equal(BigInt(first.BlockEvents.getHeader().getNumber()), startBlock);
        assert.equal(BigInt(first.FilteredBlockEvents.getNumber()), startBlock);
        gateway.close();
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
