// The Java client as a peer of the interoperability matrix: one request a line on standard input,
// one answer a line on standard output (../README.md). Needs the jars of a broker: Kafka's client,
// and Jackson.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Peer {
    static final ObjectMapper JSON = new ObjectMapper();
    static final HexFormat HEX = HexFormat.of();
    static final long TIMEOUT_MS = 30_000;
    static final long SETTLE_MS = 400;

    public static void main(String[] arguments) throws Exception {
        PrintStream output = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = input.readLine()) != null; ) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                JsonNode request = JSON.readTree(line);
                switch (request.get("verb").asText()) {
                    case "version" -> version(answer);
                    case "produce" -> produce(request, answer);
                    case "transact" -> transact(request, answer);
                    case "consume" -> consume(request, answer);
                    case "resume" -> resume(request, answer);
                    case "committed" -> committed(request, answer);
                    case "member" -> {
                        member(request, input, output);
                        return;
                    }
                    default -> throw new IllegalArgumentException("unknown verb");
                }
            } catch (Exception error) {
                answer.removeAll();
                answer.put("error", error.toString());
            }
            output.println(JSON.writeValueAsString(answer));
        }
    }

    static void version(ObjectNode answer) throws IOException {
        Properties version = new Properties();
        try (InputStream resource = KafkaProducer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            version.load(resource);
        }
        answer.put("client", "kafka-clients " + version.getProperty("version"));
        answer.putObject("cannot").put("header_key_bytes", "header keys are Strings");
    }

    static KafkaProducer<byte[], byte[]> producer(JsonNode request) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", request.get("bootstrap").asText());
        properties.put("compression.type", request.get("codec").asText());
        properties.put("linger.ms", "5000"); // Batches are cut by flush, not by time.
        properties.put("batch.size", request.get("batch_bytes").asText());
        properties.put("max.request.size", "16777216");
        if (request.hasNonNull("transactional_id")) {
            properties.put("transactional.id", request.get("transactional_id").asText());
        }
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static byte[] bytes(JsonNode hex) {
        return hex == null || hex.isNull() ? null : HEX.parseHex(hex.asText());
    }

    static String hex(byte[] bytes) {
        return bytes == null ? null : HEX.formatHex(bytes);
    }

    static ProducerRecord<byte[], byte[]> record(String topic, JsonNode record) {
        Integer partition = record.hasNonNull("partition") ? record.get("partition").asInt() : null;
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : record.get("headers")) {
            headers.add(new RecordHeader(new String(bytes(header.get(0)), StandardCharsets.UTF_8), bytes(header.get(1))));
        }
        return new ProducerRecord<>(topic, partition, record.get("timestamp").asLong(), bytes(record.get("key")),
            bytes(record.get("value")), headers);
    }

    static void produce(JsonNode request, ObjectNode answer) throws Exception {
        ArrayNode placed = answer.putArray("placed");
        try (KafkaProducer<byte[], byte[]> producer = producer(request)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : request.get("records")) {
                sent.add(producer.send(record(request.get("topic").asText(), record)));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                RecordMetadata metadata = future.get();
                placed.addArray().add(metadata.partition()).add(metadata.offset());
            }
        }
    }

    static void transact(JsonNode request, ObjectNode answer) throws Exception {
        String topic = request.get("topic").asText();
        try (KafkaProducer<byte[], byte[]> producer = producer(request)) {
            producer.initTransactions();
            for (JsonNode transaction : request.get("transactions")) {
                producer.beginTransaction();
                for (JsonNode record : transaction.get("records")) {
                    producer.send(record(topic, record));
                }
                producer.flush();
                if (transaction.hasNonNull("offset")) {
                    Properties properties = new Properties();
                    properties.put("group.id", request.get("group").asText());
                    try (KafkaConsumer<byte[], byte[]> consumer = consumer(request, properties)) {
                        producer.sendOffsetsToTransaction(
                            Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(transaction.get("offset").asLong())),
                            consumer.groupMetadata());
                    }
                }
                if (transaction.get("commit").asBoolean()) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
        answer.put("ended", request.get("transactions").size());
    }

    static KafkaConsumer<byte[], byte[]> consumer(JsonNode request, Properties more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", request.get("bootstrap").asText());
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("max.partition.fetch.bytes", "16777216");
        properties.putAll(more);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<TopicPartition> partitions(JsonNode request) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (int partition = 0; partition < request.get("partitions").asInt(); partition++) {
            partitions.add(new TopicPartition(request.get("topic").asText(), partition));
        }
        return partitions;
    }

    static void consume(JsonNode request, ObjectNode answer) {
        Properties properties = new Properties();
        properties.put("isolation.level", request.get("isolation").asText());
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(request, properties)) {
            consumer.assign(partitions(request));
            consumer.seekToBeginning(consumer.assignment());
            long deadline = System.currentTimeMillis() + TIMEOUT_MS;
            // A moment longer than needed: what should not be there must have its chance to appear.
            boolean settling = false;
            while (System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    records.add(described(record));
                }
                if (!settling && records.size() >= request.get("count").asInt()) {
                    settling = true;
                    deadline = System.currentTimeMillis() + SETTLE_MS;
                }
            }
        }
    }

    static ObjectNode described(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode node = JSON.createObjectNode();
        node.put("partition", record.partition()).put("offset", record.offset()).put("timestamp", record.timestamp());
        node.put("key", hex(record.key())).put("value", hex(record.value()));
        ArrayNode headers = node.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(hex(header.key().getBytes(StandardCharsets.UTF_8))).add(hex(header.value()));
        }
        return node;
    }

    static void resume(JsonNode request, ObjectNode answer) {
        Properties properties = new Properties();
        properties.put("group.id", request.get("group").asText());
        properties.put("max.poll.records", "1");
        ArrayNode records = answer.putArray("records");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(request, properties)) {
            consumer.subscribe(List.of(request.get("topic").asText()));
            long deadline = System.currentTimeMillis() + TIMEOUT_MS;
            Map<TopicPartition, OffsetAndMetadata> positions = new HashMap<>();
            while (records.size() < request.get("count").asInt() && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    records.add(described(record));
                    positions.put(new TopicPartition(record.topic(), record.partition()),
                        new OffsetAndMetadata(record.offset() + 1, record.leaderEpoch(), request.get("metadata").asText()));
                }
            }
            consumer.commitSync(positions);
        }
    }

    static void committed(JsonNode request, ObjectNode answer) {
        Properties properties = new Properties();
        properties.put("group.id", request.get("group").asText());
        ArrayNode offsets = answer.putArray("offsets");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(request, properties)) {
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(new HashSet<>(partitions(request)));
            for (TopicPartition partition : partitions(request)) {
                OffsetAndMetadata found = committed.get(partition);
                if (found != null) {
                    ObjectNode offset = offsets.addObject();
                    offset.put("partition", partition.partition()).put("offset", found.offset()).put("metadata", found.metadata());
                }
            }
        }
    }

    static void member(JsonNode request, BufferedReader input, PrintStream output) throws Exception {
        Properties properties = new Properties();
        properties.put("group.id", request.get("group").asText());
        properties.put("session.timeout.ms", request.get("session_timeout_ms").asText());
        properties.put("heartbeat.interval.ms", "300");
        properties.put("partition.assignment.strategy", switch (request.get("assignor").asText()) {
            case "range" -> "org.apache.kafka.clients.consumer.RangeAssignor";
            case "roundrobin" -> "org.apache.kafka.clients.consumer.RoundRobinAssignor";
            default -> throw new IllegalArgumentException("unknown assignor");
        });
        Set<Integer> owned = new TreeSet<>();
        ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                partitions.forEach(partition -> owned.add(partition.partition()));
                tell();
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                partitions.forEach(partition -> owned.remove(partition.partition()));
                tell();
            }

            void tell() {
                ObjectNode event = JSON.createObjectNode();
                ArrayNode assigned = event.putArray("assigned");
                owned.forEach(assigned::add);
                output.println(event);
            }
        };
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(request, properties)) {
            consumer.subscribe(List.of(request.get("topic").asText()), listener);
            while (!input.ready()) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    ObjectNode event = JSON.createObjectNode();
                    event.putObject("record").put("partition", record.partition()).put("offset", record.offset());
                    output.println(event);
                }
            }
        }
        output.println("{\"left\":true}");
    }
}
