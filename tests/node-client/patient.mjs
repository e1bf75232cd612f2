// One transaction by the official Node client, whose gRPC connection has a retry policy: a call that the
// gateway refuses for want of room is made again by gRPC, after the pause that the answer asks for.
//
//     node patient.mjs PROFILE MSP_FOLDER CHANNEL CONTRACT FUNCTION ARGUMENT…

import { loadMember, newClient, openGateway } from './member.mjs';

const SERVICE_CONFIG = {
    methodConfig: [
        {
            name: [{ service: 'gateway.Gateway' }],
            retryPolicy: {
                maxAttempts: 5,
                initialBackoff: '0.1s',
                maxBackoff: '3s',
                backoffMultiplier: 2,
                retryableStatusCodes: ['RESOURCE_EXHAUSTED'],
            },
        },
    ],
};

const [profile, mspFolder, channel, contract, name, ...words] = process.argv.slice(2);
const member = await loadMember(profile, mspFolder);
const client = newClient(member, member.tlsAuthority, {
    'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
});
const gateway = openGateway(client, member);
await gateway.getNetwork(channel).getContract(contract).submit(name, { arguments: words });
gateway.close();
client.close();
