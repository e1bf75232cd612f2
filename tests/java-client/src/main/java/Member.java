import com.google.gson.Gson;
import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.X509Certificate;
import java.security.interfaces.EdECPrivateKey;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.UnaryOperator;
import org.hyperledger.fabric.client.Gateway;
import org.hyperledger.fabric.client.Hash;
import org.hyperledger.fabric.client.identity.Identities;
import org.hyperledger.fabric.client.identity.Signer;
import org.hyperledger.fabric.client.identity.Signers;
import org.hyperledger.fabric.client.identity.X509Identity;

/**
 * A user of a member as an application finds it: the connection profile tells gateway and TLS
 * authority, the MSP folder holds certificate and key, one file in each of their folders.
 */
record Member(
        String mspId,
        String address,
        byte[] tlsAuthority,
        X509Certificate certificate,
        PrivateKey key) {

    private record Profile(
            Client client, Map<String, Organization> organizations, Map<String, Peer> peers) {}

    private record Client(String organization) {}

    private record Organization(String mspid, List<String> peers) {}

    private record Peer(String url, Pem tlsCACerts) {}

    private record Pem(String pem) {}

    static Member load(Path profilePath, Path mspFolder) throws Exception {
        var profile = new Gson().fromJson(Files.readString(profilePath), Profile.class);
        var organization = profile.organizations().get(profile.client().organization());
        var peer = profile.peers().get(organization.peers().get(0));
        return new Member(
                organization.mspid(),
                URI.create(peer.url()).getAuthority(),
                Checks.bytes(peer.tlsCACerts().pem()),
                Identities.readX509Certificate(onlyFile(mspFolder.resolve("signcerts"))),
                Identities.readPrivateKey(onlyFile(mspFolder.resolve("keystore"))));
    }

    private static String onlyFile(Path folder) throws IOException {
        try (var files = Files.list(folder)) {
            var found = files.toList();
            Checks.verify(found.size() == 1, folder + " should hold one file");
            return Files.readString(found.get(0));
        }
    }

    /** Signs with the key; this client leaves an Ed25519 key to the application. */
    Signer signer() {
        if (!(key instanceof EdECPrivateKey)) {
            return Signers.newPrivateKeySigner(key);
        }
        return message -> {
            var signature = Signature.getInstance("Ed25519");
            signature.initSign(key);
            signature.update(message);
            return signature.sign();
        };
    }

    ManagedChannel connect() throws IOException {
        return connect(tlsAuthority);
    }

    ManagedChannel connect(byte[] authority) throws IOException {
        ChannelCredentials tls =
                TlsChannelCredentials.newBuilder()
                        .trustManager(new ByteArrayInputStream(authority))
                        .build();
        return Grpc.newChannelBuilder(address, tls).build();
    }

    /** A gateway without a signer. */
    Gateway.Builder unsigned(ManagedChannel channel) {
        return Gateway.newInstance()
                .identity(new X509Identity(mspId, certificate))
                .hash(Hash.SHA256)
                .connection(channel)
                .evaluateOptions(within(10))
                .endorseOptions(within(15))
                .submitOptions(within(10))
                .commitStatusOptions(within(30));
    }

    private static UnaryOperator<CallOptions> within(long seconds) {
        return options -> options.withDeadlineAfter(seconds, TimeUnit.SECONDS);
    }

    /** A gateway as applications open it; what is set afterwards replaces the usual. */
    Gateway.Builder gateway(ManagedChannel channel) {
        return unsigned(channel).signer(signer());
    }
}
