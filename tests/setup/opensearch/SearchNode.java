import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** A node of OpenSearch on 127.0.0.1, alone and without its security plugin: SearchNode FOLDER HTTP_PORT. */
public final class SearchNode extends Node {
  private SearchNode(Environment environment) {
    super(environment, List.of(Netty4Plugin.class), true);
  }

  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    Settings settings =
        Settings.builder()
            .put("path.home", folder)
            .put("http.host", "127.0.0.1")
            .put("http.port", arguments[1])
            .put("transport.host", "127.0.0.1")
            .put("discovery.type", "single-node")
            .put("node.processors", 1)
            // A nearly full disk would make every index read-only.
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .build();
    Node node =
        new SearchNode(
            InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), folder.resolve("config"), () -> "tests"));
    node.start();
    // All threads of a node are daemons.
    new CountDownLatch(1).await();
  }
}
