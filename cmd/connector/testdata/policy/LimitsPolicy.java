import java.util.Map;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** What managed clusters refuse, in one policy: two of the refusals name what they are about, one does not. */
public class LimitsPolicy implements CreateTopicPolicy {
    private static final long LIMIT = 2097164;

    @Override
    public void configure(Map<String, ?> configs) {
    }

    @Override
    public void close() {
    }

    @Override
    public void validate(RequestMetadata topic) {
        if (!topic.topic().startsWith("limited.")) {
            return;
        }
        Map<String, String> configs = topic.configs();
        String size = configs.get("max.message.bytes");
        if (size != null && Long.parseLong(size) > LIMIT) {
            throw new PolicyViolationException("Config property 'max.message.bytes' with value '" + size + "' exceeded max limit of " + LIMIT + ".");
        }
        String cleanup = configs.getOrDefault("cleanup.policy", "delete");
        if (!cleanup.contains("delete")) {
            throw new PolicyViolationException("cleanup.policy must include delete");
        }
        if (cleanup.equals("delete") && "-1".equals(configs.get("retention.ms"))) {
            throw new PolicyViolationException("not without an end");
        }
    }
}
