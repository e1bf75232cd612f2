import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.google.gson.reflect.TypeToken;
import io.grpc.StatusRuntimeException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.hyperledger.fabric.client.GatewayException;
import org.hyperledger.fabric.protos.gateway.ErrorDetail;

/**
 * The scenarios that every official client must have, for Java.
 *
 * <pre>java -cp … Scenarios SETTINGS.json TABLE.json</pre>
 *
 * TABLE.json lists the scenarios; SETTINGS.json describes a network (see Settings), which may be any
 * Fabric network that has the contract of the scenarios. A line of JSON is printed for each scenario:
 * {"scenario", "passed", "ms", "error"}. The exit code is 0 whenever all were run.
 */
public final class Scenarios {
    private static final long DEADLINE_S = 90;
    private static final Gson GSON = new Gson().newBuilder().serializeNulls().create();

    private Scenarios() {}

    /** A row of the table. */
    record Row(String name) {}

    public static void main(String[] arguments) throws Exception {
        var settings = GSON.fromJson(read(arguments[0]), Settings.class);
        List<Row> table = GSON.fromJson(read(arguments[1]), new TypeToken<List<Row>>() {}.getType());
        Map<String, Scenario> all = new LinkedHashMap<>();
        List.of(
                        Connecting.scenarios(),
                        Transactions.scenarios(),
                        Events.scenarios(),
                        PrivateData.scenarios(),
                        Signing.scenarios(),
                        Failures.scenarios(),
                        Deadlines.scenarios())
                .forEach(all::putAll);
        ExecutorService threads = Executors.newCachedThreadPool(work -> {
            var thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        });
        try (var world = new World(settings)) {
            for (var row : table) {
                run(row.name(), all.remove(row.name()), world, threads);
            }
        }
        all.keySet().forEach(name -> tell(name, 0, "the table of scenarios does not list it"));
        System.exit(0);
    }

    private static String read(String path) throws Exception {
        return Files.readString(Path.of(path), StandardCharsets.UTF_8);
    }

    private static void run(String name, Scenario scenario, World world, ExecutorService threads)
            throws InterruptedException {
        long started = System.nanoTime();
        String error = null;
        Future<?> ended = threads.submit(() -> {
            Checks.verify(scenario != null, "there is no scenario " + name + " for this client");
            scenario.run(world);
            return null;
        });
        try {
            ended.get(DEADLINE_S, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            error = "it did not end within " + DEADLINE_S + " s";
        } catch (ExecutionException failed) {
            error = describe(failed.getCause());
        }
        tell(name, TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - started), error);
    }

    private static void tell(String name, long ms, String error) {
        var line = new JsonObject();
        line.addProperty("scenario", name);
        line.addProperty("passed", error == null);
        line.addProperty("ms", ms);
        line.addProperty("error", error);
        System.out.println(GSON.toJson(line));
        System.out.flush();
    }

    private static String describe(Throwable error) {
        var words = new StringWriter();
        error.printStackTrace(new PrintWriter(words));
        if (error instanceof GatewayException failed) {
            for (ErrorDetail each : failed.getDetails()) {
                words.append(each.getMspId()).append(": ").append(each.getMessage()).append('\n');
            }
        }
        if (error instanceof StatusRuntimeException failed) {
            words.append(String.valueOf(failed.getTrailers()));
        }
        return words.toString();
    }
}
