import java.util.concurrent.CountDownLatch;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One OpenSearch node on loopback, for the tests with build tag "connect". Arguments: data folder, HTTP port, transport
 * port. It runs until it is killed.
 */
public class OpenSearchNode {
  public static void main(String[] args) throws Exception {
    String data = args[0];
    int http = Integer.parseInt(args[1]);
    int transport = Integer.parseInt(args[2]);
    OpenSearchRunner runner = new OpenSearchRunner();
    runner.setMaxHttpPort(http); // without it, and the base port below, the runner calls the port unavailable
    runner
        .onBuild(
            (node, settings) -> {
              settings.put("http.port", http);
              settings.put("transport.port", transport);
              settings.put("http.host", "127.0.0.1");
              settings.put("transport.host", "127.0.0.1");
              settings.put("network.host", "127.0.0.1");
              settings.put("discovery.type", "single-node");
              settings.putList("node.roles", "cluster_manager", "data", "ingest"); // the runner's default lacks ingest
              settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
            })
        .build(
            OpenSearchRunner.newConfigs()
                .clusterName("test")
                .numOfNode(1)
                .basePath(data)
                .baseHttpPort(http - 1)
                .useLogger());
    runner.ensureYellow();
    new CountDownLatch(1).await();
  }
}
