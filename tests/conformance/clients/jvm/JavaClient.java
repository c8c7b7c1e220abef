import ai.fal.client.ClientConfig;
import ai.fal.client.CredentialsResolver;
import ai.fal.client.FalClient;
import ai.fal.client.Output;
import ai.fal.client.RunOptions;
import ai.fal.client.SubscribeOptions;
import ai.fal.client.exception.FalException;
import ai.fal.client.queue.QueueResultOptions;
import ai.fal.client.queue.QueueStatus;
import ai.fal.client.queue.QueueStatusOptions;
import ai.fal.client.queue.QueueSubmitOptions;
import ai.fal.client.queue.QueueSubscribeOptions;
import ai.fal.client.type.RequestLog;
import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.math.BigInteger;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;

/** Runs fal's official Java client, unmodified, against TEMPERA_URL. Prints each check as a line of JSON. */
public final class JavaClient {
  private static final String STUB = "tempera/stub";
  private static final String IMAGES = "fal-ai/qwen-image";
  /** A model that no worker serves: its requests stay in the queue. */
  private static final String WAITING = System.getenv("WAITING_MODEL");

  private static final FalClient FAL = client(System.getenv("FAL_KEY"));

  public static void main(String[] arguments) {
    run();
    queue();
    errors();
    subscriptions();
    System.exit(0);
  }

  private static void run() {
    check("run answers with the output and the request's id", () -> {
      Output<JsonObject> output = run(FAL, STUB, Map.of("prompt", "one"));
      same(output.getData().get("echo").getAsString(), "one");
      return ensure(output.getRequestId() != null && !output.getRequestId().isEmpty(), "no request id");
    });
    check("run keeps characters beyond ASCII", () -> {
      String text = "日本語 фото 🎨 é\u2028";
      return same(run(FAL, STUB, Map.of("prompt", text)).getData().get("echo").getAsString(), text);
    });
    for (String seed : List.of("9007199254740993", "18446744073709551615"))
      check("run keeps the seed " + seed, () -> {
        Map<String, Object> payload = Map.of("seed", new BigInteger(seed));
        JsonObject data = run(FAL, STUB, Map.of("payload", payload)).getData();
        return same(data.getAsJsonObject("echo").get("seed").getAsBigInteger(), new BigInteger(seed));
      });
    check("run of 5 s answers", () ->
        same(run(FAL, STUB, Map.of("prompt", "x", "delay_ms", 5000)).getData().get("echo").getAsString(), "x"));
    check("run of 14 s gives up after 10 s, as the documentation says", () -> {
      try {
        run(FAL, STUB, Map.of("delay_ms", 14000));
      } catch (FalException error) {
        return ensure(error.getCause() instanceof SocketTimeoutException, "it failed with " + error.getCause());
      }
      throw new AssertionError("it answered: the limit in the documentation is out of date");
    });
    check("run gives an image whose address can be read", () -> {
      Map<String, Object> size = Map.of("width", 256, "height", 256);
      Map<String, Object> input = Map.of("prompt", "a red zebra", "num_inference_steps", 2, "image_size", size);
      Output<JsonObject> output = FAL.subscribe(IMAGES, options(input, false, new ArrayList<>()));
      JsonObject image = output.getData().getAsJsonArray("images").get(0).getAsJsonObject();
      HttpRequest request = HttpRequest.newBuilder(URI.create(image.get("url").getAsString())).build();
      HttpResponse<byte[]> file =
          HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofByteArray());
      same(file.statusCode(), 200);
      same(file.headers().firstValue("content-type").orElse(""), image.get("content_type").getAsString());
      return ensure(file.body().length > 1000, "the image has " + file.body().length + " bytes");
    });
  }

  private static void queue() {
    check("submit answers IN_QUEUE with a position and three addresses", () -> {
      QueueStatus.InQueue queued = submit(STUB, Map.of());
      same(queued.getStatus(), QueueStatus.Status.IN_QUEUE);
      ensure(queued.getQueuePosition() != null, "no position");
      for (String url : List.of(queued.getStatusUrl(), queued.getResponseUrl(), queued.getCancelUrl()))
        ensure(url.contains(queued.getRequestId()), url);
      return null;
    });
    check("status of a waiting request is IN_QUEUE with its position", () -> {
      QueueStatus.InQueue queued = submit(WAITING, Map.of("prompt", "x", "image_url", System.getenv("IMAGE")));
      QueueStatus.StatusUpdate status = status(WAITING, queued.getRequestId());
      ensure(status instanceof QueueStatus.InQueue, "it is " + status);
      return ensure(((QueueStatus.InQueue) status).getQueuePosition() >= 0, "no position");
    });
    check("status is IN_PROGRESS, then COMPLETED after 14 silent seconds; then the result", () -> {
      QueueStatus.InQueue queued = submit(STUB, Map.of("prompt", "x", "delay_ms", 14000, "unknown_field", 1));
      QueueStatus.StatusUpdate status;
      do status = status(STUB, queued.getRequestId());
      while (status.getStatus() == QueueStatus.Status.IN_QUEUE);
      ensure(status instanceof QueueStatus.InProgress, "it is " + status);
      List<QueueStatus.StatusUpdate> updates = new ArrayList<>();
      FAL.queue().subscribeToStatus(
          STUB,
          QueueSubscribeOptions.builder()
              .requestId(queued.getRequestId()).logs(true).onQueueUpdate(updates::add).build());
      status = status(STUB, queued.getRequestId());
      ensure(status instanceof QueueStatus.Completed, "it is " + status);
      labelled(((QueueStatus.Completed) status).getLogs());
      Output<JsonObject> result =
          FAL.queue().result(
              STUB,
              QueueResultOptions.<JsonObject>builder()
                  .requestId(queued.getRequestId()).resultType(JsonObject.class).build());
      return same(result.getData().get("echo").getAsString(), "x");
    });
    check("submit with a webhook", () -> {
      QueueSubmitOptions options =
          QueueSubmitOptions.builder().input(Map.of("prompt", "hook")).webhookUrl(System.getenv("HOOK_URL")).build();
      return ensure(FAL.queue().submit(STUB, options).getRequestId() != null, "no request id");
    });
  }

  private static void errors() {
    check("a wrong key is an exception", () -> {
      FalClient stranger = client("00000000-0000-4000-8000-000000000000:wrong");
      return fails(() -> run(stranger, STUB, Map.of()), 401);
    });
    check("an unknown model is an exception", () ->
        fails(() -> run(FAL, "nobody/nothing", Map.of()), 404));
    check("an input that the model refuses is an exception", () ->
        fails(() -> run(FAL, STUB, Map.of("fail", "invalid")), 422));
    check("an unknown request is an exception", () ->
        fails(() -> status(STUB, "019a1b2c-0000-7000-8000-000000000000"), 404));
    check("subscribe to a request that fails is an exception", () ->
        fails(() -> FAL.subscribe(STUB, options(Map.of("fail", "error"), false, new ArrayList<>())), 500));
  }

  private static void subscriptions() {
    check("subscribe reports its progress and logs with labels", () -> {
      List<QueueStatus.StatusUpdate> updates = new ArrayList<>();
      Map<String, Object> input = Map.of("prompt", "x", "delay_ms", 1500, "steps", 3, "unknown_field", 1);
      Output<JsonObject> output = FAL.subscribe(STUB, options(input, true, updates));
      same(output.getData().get("echo").getAsString(), "x");
      List<RequestLog> logs = new ArrayList<>();
      for (QueueStatus.StatusUpdate update : updates) {
        List<RequestLog> more =
            update instanceof QueueStatus.InProgress progress ? progress.getLogs()
                : update instanceof QueueStatus.Completed completed ? completed.getLogs() : null;
        if (more != null) logs.addAll(more);
      }
      ensure(updates.size() > 1, "it reported " + updates);
      return labelled(logs);
    });
    check("subscribe to a job that is silent for 14 s", () -> {
      Map<String, Object> input = Map.of("prompt", "x", "delay_ms", 14000);
      Output<JsonObject> output = FAL.subscribe(STUB, options(input, false, new ArrayList<>()));
      return same(output.getData().get("echo").getAsString(), "x");
    });
  }

  private static FalClient client(String key) {
    return FalClient.withConfig(
        ClientConfig.builder()
            .withCredentials(CredentialsResolver.fromApiKey(key))
            .withProxyUrl(System.getenv("TEMPERA_URL") + "/api/fal/proxy")
            .build());
  }

  private static Output<JsonObject> run(FalClient fal, String endpoint, Map<String, Object> input) {
    return fal.run(endpoint, RunOptions.withInput(input));
  }

  private static QueueStatus.InQueue submit(String endpoint, Map<String, Object> input) {
    return FAL.queue().submit(endpoint, QueueSubmitOptions.withInput(input));
  }

  private static QueueStatus.StatusUpdate status(String endpoint, String requestId) {
    return FAL.queue().status(endpoint, QueueStatusOptions.builder().requestId(requestId).logs(true).build());
  }

  private static SubscribeOptions<JsonObject> options(
      Map<String, Object> input, boolean logs, List<QueueStatus.StatusUpdate> updates) {
    return SubscribeOptions.<JsonObject>builder()
        .input(input).resultType(JsonObject.class).logs(logs).onQueueUpdate(updates::add).build();
  }

  /** Reads every getter of a log, as a program that prints it does. */
  private static Object labelled(List<RequestLog> logs) {
    ensure(logs != null && !logs.isEmpty(), "no logs");
    for (RequestLog log : logs) {
      ensure(log.getMessage() != null && log.getTimestamp() != null, "a log without message or time: " + log);
      ensure(log.getLevel() != null && log.getLabels().getSource() != null, "a log without labels: " + log);
    }
    return null;
  }

  /** The client reports the status of a failure, and not its body. */
  private static Object fails(Callable<?> call, int status) throws Exception {
    try {
      call.call();
    } catch (FalException error) {
      return same(error.getMessage(), "Request failed with code: " + status);
    }
    throw new AssertionError("it did not fail");
  }

  private static Object same(Object actual, Object expected) {
    return ensure(expected.equals(actual), "it is " + actual + " instead of " + expected);
  }

  private static Object ensure(boolean condition, String otherwise) {
    if (!condition) throw new AssertionError(otherwise);
    return null;
  }

  private static void check(String name, Callable<?> work) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("name", name);
    try {
      work.call();
      line.put("passed", true);
    } catch (Throwable error) {
      line.put("passed", false);
      line.put("reason", error + (error.getCause() == null ? "" : ", caused by " + error.getCause()));
    }
    System.out.println(new Gson().toJson(line));
  }
}
