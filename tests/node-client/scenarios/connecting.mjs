// Connecting: TLS, and the identities that a gateway takes.

import * as grpc from '@grpc/grpc-js';
import { hash } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { newClient, newSigner, openGateway } from '../member.mjs';
import { ends, rejection, takeUntil, UTF8 } from '../world.mjs';

export default {
    async 'connect-over-tls'(world) {
        const member = await world.member();
        const client = newClient(member);
        const gateway = openGateway(client, member);
        try {
            await new Promise((resolve, reject) => {
                client.waitForReady(Date.now() + 10_000, (error) => {
                    error ? reject(error) : resolve();
                });
            });
            const contract = world.contractOf(gateway);
            assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), world.home);
        } finally {
            gateway.close();
            client.close();
        }
    },

    async 'connect-with-another-authority'(world) {
        const member = await world.member();
        const other = await world.member(world.second);
        const client = newClient(member, other.tlsAuthority);
        const gateway = openGateway(client, member);
        try {
            const contract = world.contractOf(gateway);
            const error = await rejection(contract.evaluateTransaction('WhoAmI'));
            assert.equal(error.code, grpc.status.UNAVAILABLE, error.message);
        } finally {
            gateway.close();
            client.close();
        }
    },

    async 'identity-p256'(world) {
        const { identity, privateKey } = await world.member();
        assert.equal(privateKey.asymmetricKeyDetails.namedCurve, 'prime256v1');
        const certificate = new crypto.X509Certificate(identity.credentials);
        assert.ok(certificate.checkPrivateKey(privateKey), 'certificate and key belong together');
        const gateway = await world.gateway();
        assert.deepEqual(Buffer.from(gateway.getIdentity().credentials), identity.credentials);
        assert.equal(gateway.getIdentity().mspId, world.home);
    },

    async 'identity-p384'(world) {
        const member = await world.member(world.home, world.settings.identities['P-384']);
        assert.equal(member.privateKey.asymmetricKeyDetails.namedCurve, 'secp384r1');
        await tryIdentity(world, member, 'p384', hash.sha256);
    },

    async 'identity-ed25519'(world) {
        const member = await world.member(world.home, world.settings.identities.Ed25519);
        assert.equal(member.privateKey.asymmetricKeyType, 'ed25519');
        await tryIdentity(world, member, 'ed25519', hash.none);
    },

    async 'identity-with-another-key'(world) {
        const member = await world.member();
        const stranger = newSigner(await world.member(world.second));
        const gateway = openGateway(world.client(member), member, { signer: stranger });
        const contract = world.contractOf(gateway);
        for (const call of [
            contract.evaluateTransaction('WhoAmI'),
            contract.submitTransaction('Put', world.key('stranger'), 'x'),
        ]) {
            const error = await rejection(call);
            const words = [error.message, ...error.details.map((each) => each.message)];
            assert.match(words.join(), /access denied/);
        }
        const network = gateway.getNetwork(world.settings.channel);
        const from = { startBlock: BigInt(world.settings.firstBlock) };
        const heard = await network.getChaincodeEvents(world.settings.contract, from);
        const denied = await rejection(takeUntil(heard, () => true));
        assert.equal(denied.code, grpc.status.PERMISSION_DENIED);
        const refused = await ends(await network.getBlockEvents(from), 10_000);
        assert.equal(refused.count, 0);
        gateway.close();
    },
};

/** Submit and listen as a user: all that is signed is taken. */
async function tryIdentity(world, member, name, digest) {
    const gateway = openGateway(world.client(member), member, { hash: digest });
    const contract = world.contractOf(gateway);
    assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), world.home);
    const submitted = await contract.submitAsync('Add', { arguments: [world.key(name), '5'] });
    const { successful, blockNumber: startBlock } = await submitted.getStatus();
    assert.ok(successful);
    const network = gateway.getNetwork(world.settings.channel);
    const heard = await network.getChaincodeEvents(world.settings.contract, { startBlock });
    const [event] = await takeUntil(heard, () => true);
    assert.equal(event.transactionId, submitted.getTransactionId());
    const blocks = await network.getBlockEvents({ startBlock });
    const [block] = await takeUntil(blocks, () => true);
    assert.equal(BigInt(block.getHeader().getNumber()), startBlock);
    gateway.close();
}
