package genesys.audit;

import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Timestamp;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Writes what Debezium's JDBC sink, or PostgreSQL, cannot take as it is in another way; everything else stays. A record
 * without a value, a tombstone, stays too. In the fields of a record's value:
 *
 * <ul>
 *   <li>A map is JSON. The sink writes a map as hstore and escapes neither quotes nor backslashes in it (3.6.0,
 *       HstoreConverter): a quote stops the sink, or makes another entry.
 *   <li>A timestamp is text with its zone. The sink binds it as one without, which the session's time zone, that is the
 *       worker's, then decides.
 *   <li>U+0000, which no text of PostgreSQL can hold, is U+FFFD.
 * </ul>
 */
public class PostgresValues<R extends ConnectRecord<R>> implements Transformation<R> {
  // The names by which the sink knows what a text is.
  private static final Schema JSON = SchemaBuilder.string().name("io.debezium.data.Json").optional().build();
  private static final Schema INSTANT = SchemaBuilder.string().name("io.debezium.time.ZonedTimestamp").build();
  private static final Schema OPTIONAL_INSTANT = SchemaBuilder.string().name("io.debezium.time.ZonedTimestamp").optional().build();

  // By the schema that a record came with; a topic has few. One task, one thread.
  private final Map<Schema, Schema> schemas = new HashMap<>();

  @Override
  public R apply(R record) {
    if (record.value() == null) {
      return record;
    }
    Struct before = (Struct) record.value();
    Schema schema = schemas.computeIfAbsent(before.schema(), PostgresValues::rewrite);
    Struct after = new Struct(schema);
    for (Field field : before.schema().fields()) {
      after.put(field.name(), value(before.get(field), field.schema()));
    }
    return record.newRecord(record.topic(), record.kafkaPartition(), record.keySchema(), record.key(), schema, after, record.timestamp());
  }

  private static Schema rewrite(Schema before) {
    SchemaBuilder after = SchemaBuilder.struct().name(before.name()).version(before.version());
    for (Field field : before.fields()) {
      Schema s = field.schema();
      if (s.type() == Schema.Type.MAP) {
        s = JSON;
      } else if (Timestamp.LOGICAL_NAME.equals(s.name())) {
        s = s.isOptional() ? OPTIONAL_INSTANT : INSTANT;
      }
      after.field(field.name(), s);
    }
    return after.build();
  }

  private static Object value(Object v, Schema schema) {
    if (v instanceof Map) {
      return json((Map<?, ?>) v);
    }
    if (v instanceof String) {
      return text((String) v);
    }
    if (v instanceof List && schema.valueSchema().type() == Schema.Type.STRING) {
      List<Object> list = new ArrayList<>();
      for (Object o : (List<?>) v) {
        list.add(o == null ? null : text((String) o));
      }
      return list;
    }
    if (v instanceof java.util.Date && Timestamp.LOGICAL_NAME.equals(schema.name())) {
      return Instant.ofEpochMilli(((java.util.Date) v).getTime()).toString();
    }
    return v;
  }

  private static String text(String s) {
    return s.replace('\u0000', '\ufffd');
  }

  /** An object of texts, its keys in order, so that a record always gives the same. */
  private static String json(Map<?, ?> map) {
    Map<String, String> sorted = new TreeMap<>();
    map.forEach((k, v) -> sorted.put(text(k.toString()), v == null ? null : text(v.toString())));
    StringBuilder out = new StringBuilder("{");
    sorted.forEach(
        (k, v) -> {
          quote(out.length() > 1 ? out.append(',') : out, k).append(':');
          if (v == null) {
            out.append("null");
          } else {
            quote(out, v);
          }
        });
    return out.append('}').toString();
  }

  private static StringBuilder quote(StringBuilder out, String s) {
    out.append('"');
    for (char c : s.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < ' ') {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"');
  }

  @Override
  public ConfigDef config() {
    return new ConfigDef();
  }

  @Override
  public void configure(Map<String, ?> configs) {}

  @Override
  public void close() {}
}
