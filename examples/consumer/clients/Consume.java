import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;

import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Prints every committed change: Consume BROKERS TOPIC GROUP SCHEMA_FILE. Maven: kafka-clients, avro. */
public class Consume {
  public static void main(String[] args) throws Exception {
    Schema schema = new Schema.Parser().parse(Files.readString(Path.of(args[3])));
    // Single-object encoding. Add older schemas with addSchema: they are told by their fingerprints.
    BinaryMessageDecoder<GenericRecord> decoder = new BinaryMessageDecoder<>(GenericData.get(), schema);
    Map<String, Object> config = Map.of(
        "bootstrap.servers", args[0],
        "group.id", args[2],
        "isolation.level", "read_committed", // not the default
        "auto.offset.reset", "earliest",
        "enable.auto.commit", false);
    try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer())) {
      consumer.subscribe(List.of(args[1]));
      while (true) {
        for (ConsumerRecord<String, byte[]> r : consumer.poll(Duration.ofSeconds(1))) {
          if (r.value() == null) {
            System.out.println(r.key() + "\terased"); // delete here what was made of this key
            continue;
          }
          GenericRecord change = decoder.decode(r.value());
          // Deliver it here, under its key: that is the same when it comes again.
          System.out.println(r.key() + "\t" + change.get("action") + "\t" + change.get("entityType") + "\t" + change.get("configurationKey"));
        }
        consumer.commitSync(); // after delivery
      }
    }
  }
}
