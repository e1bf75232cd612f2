// Connecting: TLS, identity, and where a query is answered.

import * as grpc from '@grpc/grpc-js';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { newClient, openGateway } from '../member.mjs';
import { rejection, UTF8 } from '../world.mjs';

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

    async evaluate(world) {
        const contract = await world.contract();
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'nowhere')), '');
        const answer = await contract.evaluate('WhoAmI');
        assert.equal(UTF8.decode(answer), world.home);
        const bytes = await contract.evaluate('Get', { arguments: [Buffer.from('nowhere')] });
        assert.equal(UTF8.decode(bytes), '');
    },

    async 'evaluate-does-not-write'(world) {
        const contract = await world.contract();
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Add', 'evaluated', '5')), '5');
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'evaluated')), '');
    },

    async 'evaluate-at-an-organisation'(world) {
        const contract = await world.contract();
        const answer = await contract.evaluate('WhoAmI', { endorsingOrganizations: [world.third] });
        assert.equal(UTF8.decode(answer), world.home);
        const nobody = contract.evaluate('WhoAmI', { endorsingOrganizations: ['NobodyMSP'] });
        const error = await rejection(nobody);
        assert.match(error.message, /NobodyMSP/);
    },
};
