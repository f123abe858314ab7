import com.aliyun.mns.client.CloudPullTopic;
import com.aliyun.mns.client.CloudQueue;
import com.aliyun.mns.client.CloudTopic;
import com.aliyun.mns.client.MNSClient;
import com.aliyun.mns.client.MNSClientBuilder;
import com.aliyun.mns.client.TransactionQueue;
import com.aliyun.mns.common.BatchDeleteException;
import com.aliyun.mns.common.BatchSendException;
import com.aliyun.mns.common.ServiceException;
import com.aliyun.mns.common.ServiceHandlingRequiredException;
import com.aliyun.mns.model.*;
import java.util.*;

/** Carries out every operation of the Java SDK against one service, and prints how each went: a line of ok or FAIL, its name, and why. */
public class EveryOperation {
    interface Step { void run() throws Exception; }

    static void step(String name, Step step) {
        try {
            step.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            System.out.println("FAIL " + name + ": " + String.valueOf(error).replace('\n', ' '));
        }
    }

    static void equal(Object wanted, Object found) {
        if (!Objects.equals(wanted, found)) throw new AssertionError("wanted " + wanted + ", found " + found);
    }

    static void check(boolean holds, Object found) {
        if (!holds) throw new AssertionError("found " + found);
    }

    static void refused(String code, Step step) throws Exception {
        try {
            step.run();
        } catch (ServiceException error) {
            equal(code, error.getErrorCode());
            check(error.getRequestId() != null && !error.getRequestId().isEmpty(), error.getRequestId());
            return;
        } catch (ServiceHandlingRequiredException error) {  // of deletions
            equal(code, error.getErrorCode());
            return;
        }
        throw new AssertionError("no " + code);
    }

    static QueueMeta queue(String name) {
        QueueMeta meta = new QueueMeta();
        meta.setQueueName(name);
        return meta;
    }

    static SubscriptionMeta subscription(String name, String endpoint, SubscriptionMeta.NotifyContentFormat format) {
        SubscriptionMeta meta = new SubscriptionMeta();
        meta.setSubscriptionName(name);
        meta.setEndpoint(endpoint);
        meta.setNotifyContentFormat(format);
        return meta;
    }

    static Message raw(String body) {
        Message message = new Message();
        message.setMessageBodyAsRawString(body);
        return message;
    }

    static <T> T asyncOf(com.aliyun.mns.client.AsyncResult<T> result) throws Exception {
        T value = result.getResult();
        if (!result.isSuccess()) throw result.getException();
        return value;
    }

    public static void main(String[] args) {
        MNSClient client = MNSClientBuilder.create().accountEndpoint(args[0])
            .accessKeyId("testAccessKeyId").accessKeySecret("testAccessKeySecret").region("cn-hangzhou").build();
        queues(client);
        messages(client);
        topics(client);
        subscriptions(client);
        published(client);
        account(client, args[0]);
        client.close();
        System.exit(0);
    }

    static void queues(MNSClient client) {
        CloudQueue queue = client.getQueueRef("made");
        step("queue create", () -> {
            QueueMeta meta = queue("made");
            meta.setVisibilityTimeout(45L);
            check(queue.create(meta).endsWith("/queues/made"), queue.getQueueURL());
            check(queue.create(meta).endsWith("/queues/made"), queue.getQueueURL());
        });
        step("queue create async", () ->
            check(asyncOf(client.getQueueRef("made2").asyncCreate(queue("made2"), null)).endsWith("/queues/made2"), ""));
        step("queue create again otherwise", () -> {
            QueueMeta meta = queue("made");
            meta.setVisibilityTimeout(46L);
            refused("QueueAlreadyExist", () -> queue.create(meta));
        });
        step("queue create out of range", () -> {
            QueueMeta meta = queue("far");
            meta.setPollingWaitSeconds(60);
            refused("InvalidArgument", () -> client.getQueueRef("far").create(meta));
        });
        step("queue create bad name", () -> refused("InvalidQueueName", () -> client.getQueueRef("a_b").create()));
        step("queue create long name", () -> refused("QueueNameLengthError", () -> client.getQueueRef("q".repeat(257)).create()));
        step("queue set attributes", () -> {
            QueueMeta meta = queue("made");
            meta.setPollingWaitSeconds(3);
            meta.setLoggingEnabled(true);
            queue.setAttributes(meta);
        });
        step("queue get attributes", () -> {
            QueueMeta meta = queue.getAttributes();
            equal(List.of("made", 45L, 3, true, 345600L, 65536L), List.of(meta.getQueueName(), meta.getVisibilityTimeout(),
                meta.getPollingWaitSeconds(), meta.isLoggingEnabled(), meta.getMessageRetentionPeriod(), meta.getMaxMessageSize()));
            check(Math.abs(meta.getCreateTime().getTime() / 1000 - System.currentTimeMillis() / 1000) < 600, meta.getCreateTime());
            equal("made", asyncOf(queue.asyncGetAttributes(null)).getQueueName());
        });
        step("queue exists", () -> {
            check(queue.isQueueExist(), "made");
            check(!client.getQueueRef("nowhere").isQueueExist(), "nowhere");
        });
        step("queue list", () -> {
            PagingListResult<String> page = client.listQueueURL("made", "", 1);
            equal(1, page.getResult().size());
            check(page.getResult().get(0).endsWith("/queues/made"), page.getResult());
            page = client.listQueueURL("made", page.getMarker(), 1);
            check(page.getResult().get(0).endsWith("/queues/made2"), page.getResult());
        });
        step("queue list with attributes", () -> {
            List<QueueMeta> found = client.listQueue("made", "", 10).getResult();
            equal(2, found.size());
            equal(List.of("made", 45L), List.of(found.get(0).getQueueName(), found.get(0).getVisibilityTimeout()));
        });
        step("queue delete", () -> {
            queue.delete();
            asyncOf(client.getQueueRef("made2").asyncDelete(null));
            refused("QueueNotExist", queue::getAttributes);
        });
        step("send to a queue that is not there", () -> refused("QueueNotExist", () -> queue.putMessage(raw("x"))));
    }

    static void messages(MNSClient client) {
        CloudQueue queue = client.createQueue(queue("results"));
        step("receive from an empty queue", () -> {
            equal(null, queue.popMessage());
            equal(null, queue.popMessage(1));
            equal(null, queue.peekMessage());
            equal(null, queue.batchPopMessage(16));
            equal(null, queue.batchPeekMessage(16));
        });
        step("receive from an empty queue async", () -> {
            com.aliyun.mns.client.AsyncResult<Message> result = queue.asyncPopMessage(null);
            equal(null, result.getResult());
            check(queue.isMessageNotExist((ServiceException) result.getException()), result.getException());
        });
        step("send", () -> check(queue.putMessage(raw("env_id=1&rcpt=a+b@例え.jp\n<x>")).getMessageId().length() == 32, ""));
        step("peek", () -> equal("env_id=1&rcpt=a+b@例え.jp\n<x>", queue.peekMessage().getMessageBodyAsRawString()));
        step("receive, change visibility, delete", () -> {
            Message got = queue.popMessage(1);
            equal("env_id=1&rcpt=a+b@例え.jp\n<x>", got.getMessageBodyAsRawString());
            equal(List.of(1, 8), List.of(got.getDequeueCount(), got.getPriority()));
            equal(30000L, got.getNextVisibleTime().getTime() - got.getFirstDequeueTime().getTime());
            Message changed = queue.changeMessageVisibility(got.getReceiptHandle(), 60);
            String handle = queue.changeMessageVisibilityTimeout(changed.getReceiptHandle(), 60);
            refused("MessageNotExist", () -> queue.deleteMessage(got.getReceiptHandle()));
            queue.deleteMessage(handle);
        });
        step("delete by a wrong handle", () -> refused("ReceiptHandleError", () -> queue.deleteMessage("1-nonsense")));
        step("base64", () -> {
            queue.putMessage(new Message("täxt & more"));
            Message got = queue.popMessage();
            equal("täxt & more", got.getMessageBodyAsString());
            asyncOf(queue.asyncDeleteMessage(got.getReceiptHandle(), null));
        });
        step("batch send, receive, peek, delete", () -> {
            equal(3, queue.batchPutMessage(List.of(raw("a"), raw("b"), raw("c"))).size());
            equal(3, queue.batchPeekMessage(16).size());
            List<String> handles = new ArrayList<>();
            for (Message message : queue.batchPopMessage(16, 1)) handles.add(message.getReceiptHandle());
            equal(3, handles.size());
            queue.batchDeleteMessage(handles.subList(0, 2));
            try {
                queue.batchDeleteMessage(List.of(handles.get(0), handles.get(2), "1-nonsense"));
                throw new AssertionError("no refusal");
            } catch (ServiceHandlingRequiredException wrapped) {
                BatchDeleteException error = (BatchDeleteException) wrapped.getCause();
                equal(Set.of(handles.get(0), "1-nonsense"), error.getErrorMessages().keySet());
                equal("MessageNotExist", error.getErrorMessages().get(handles.get(0)).getErrorCode());
            }
        });
        step("batch send refused in part", () -> {
            Message bad = raw("b");
            bad.setPriority(17);
            try {
                queue.batchPutMessage(List.of(raw("a"), bad));
                throw new AssertionError("no BatchSendException");
            } catch (BatchSendException error) {
                equal(List.of(false, true), List.of(error.getMessages().get(0).isErrorMessage(), error.getMessages().get(1).isErrorMessage()));
            }
            queue.deleteMessage(queue.popMessage().getReceiptHandle());
        });
        step("send with delay and delete by its handle", () -> {
            Message late = raw("late");
            late.setDelaySeconds(600);
            String handle = queue.putMessage(late).getReceiptHandle();
            equal(1L, queue.getAttributes().getDelayMessages());
            queue.deleteMessage(handle);
            equal(0L, queue.getAttributes().getDelayMessages());
        });
        step("user properties", () -> {
            Message message = raw("p");
            message.setUserProperties(new LinkedHashMap<>(Map.of("kind", new MessagePropertyValue("a<b"), "n", new MessagePropertyValue(7))));
            queue.putMessage(message);
            Message got = queue.popMessage();
            equal(List.of("a<b", "7"), List.of(got.getUserProperties().get("kind").getStringValueByType(),
                got.getUserProperties().get("n").getStringValueByType()));
            queue.deleteMessage(got.getReceiptHandle());
        });
        step("priority", () -> {
            Message first = raw("first");
            first.setPriority(1);
            queue.batchPutMessage(List.of(raw("second"), first));
            List<Message> got = queue.batchPopMessage(2);
            equal("first", got.get(0).getMessageBodyAsRawString());
            for (Message message : got) queue.deleteMessage(message.getReceiptHandle());
        });
        step("transaction queue", () -> {
            TransactionQueue transactions = client.createTransQueue(queue("transactions"), null);
            Message sent = transactions.sendPrepareMessage(raw("prepared"));
            equal(null, transactions.getInnerQueue().popMessage());
            transactions.commitMessage(sent);
            equal("prepared", transactions.getInnerQueue().popMessage(5).getMessageBodyAsRawString());
            transactions.rollbackMessage(transactions.sendPrepareMessage(raw("undone")));
            equal(null, transactions.getInnerQueue().popMessage());
            transactions.delete();
        });
    }

    static void topics(MNSClient client) {
        CloudTopic topic = client.getTopicRef("news");
        step("topic create", () -> {
            check(topic.create().endsWith("/topics/news"), "");
            client.getTopicRef("news2").create();
        });
        step("topic create again otherwise", () -> {
            TopicMeta meta = new TopicMeta();
            meta.setTopicName("news");
            meta.setMaxMessageSize(4096L);
            refused("TopicAlreadyExist", () -> topic.create(meta));
        });
        step("topic create bad name", () -> refused("TopicNameInvalid", () -> client.getTopicRef("a_b").create()));
        step("topic create long name", () -> refused("TopicNameLengthError", () -> client.getTopicRef("t".repeat(257)).create()));
        step("topic set attributes", () -> {
            TopicMeta meta = new TopicMeta();
            meta.setTopicName("news");
            meta.setMaxMessageSize(4096L);
            meta.setLoggingEnabled(true);
            topic.setAttribute(meta);
        });
        step("topic get attributes", () -> {
            TopicMeta meta = topic.getAttribute();
            equal(List.of("news", 4096L, true, 0L, 86400L), List.of(meta.getTopicName(), meta.getMaxMessageSize(),
                meta.isLoggingEnabled(), meta.getMessageCount(), meta.getMessageRetentionPeriod()));
            equal("news", asyncOf(topic.asyncGetAttribute(null)).getTopicName());
        });
        step("topic list", () -> {
            PagingListResult<String> page = client.listTopicURL("news", "", 1);
            check(page.getResult().get(0).endsWith("/topics/news"), page.getResult());
            check(client.listTopicURL("news", page.getMarker(), 1).getResult().get(0).endsWith("/topics/news2"), "");
        });
        step("topic list with attributes", () -> {
            List<TopicMeta> found = client.listTopic("news", "", 10).getResult();
            equal(2, found.size());
            equal(List.of("news", 4096L), List.of(found.get(0).getTopicName(), found.get(0).getMaxMessageSize()));
        });
        step("topic delete", () -> {
            topic.delete();
            client.getTopicRef("news2").delete();
            refused("TopicNotExist", topic::getAttribute);
        });
        step("publish to a topic that is not there", () -> {
            RawTopicMessage message = new RawTopicMessage();
            message.setMessageBody("x");
            refused("TopicNotExist", () -> topic.publishMessage(message));
        });
    }

    static void subscriptions(MNSClient client) {
        CloudTopic topic = client.getTopicRef("t");
        topic.create();
        client.getQueueRef("q").create();
        SubscriptionMeta http = subscription("s1", "http://127.0.0.1:1/n", SubscriptionMeta.NotifyContentFormat.XML);
        http.setFilterTag("tag");
        step("subscribe a URL", () -> {
            check(topic.subscribe(http).endsWith("/topics/t/subscriptions/s1"), "");
            check(topic.subscribe(http).endsWith("/topics/t/subscriptions/s1"), "");
        });
        step("subscribe again otherwise", () ->
            refused("SubscriptionAlreadyExist", () -> topic.subscribe(subscription("s1", "http://127.0.0.1:2/", SubscriptionMeta.NotifyContentFormat.XML))));
        step("subscribe a queue", () ->
            topic.subscribe(subscription("s2", topic.generateQueueEndpoint("q"), SubscriptionMeta.NotifyContentFormat.SIMPLIFIED)));
        step("subscribe a mailbox and a phone", () -> {
            topic.subscribe(subscription("s3", topic.generateMailEndpoint("a@example.com"), SubscriptionMeta.NotifyContentFormat.XML));
            topic.subscribe(subscription("s4", topic.generateBatchSmsEndpoint(), SubscriptionMeta.NotifyContentFormat.XML));
        });
        step("subscribe to no endpoint", () ->
            refused("EndpointInvalid", () -> topic.subscribe(subscription("s5", "nowhere", SubscriptionMeta.NotifyContentFormat.XML))));
        step("subscribe bad name", () ->
            refused("SubscriptionNameInvalid", () -> topic.subscribe(subscription("a_b", "http://127.0.0.1:1/", SubscriptionMeta.NotifyContentFormat.XML))));
        step("subscribe long name", () -> refused("SubscriptionNameLengthError",
            () -> topic.subscribe(subscription("s".repeat(257), "http://127.0.0.1:1/", SubscriptionMeta.NotifyContentFormat.XML))));
        step("subscription set attributes", () -> {
            SubscriptionMeta meta = subscription("s1", null, null);
            meta.setNotifyStrategy(SubscriptionMeta.NotifyStrategy.EXPONENTIAL_DECAY_RETRY);
            topic.setSubscriptionAttr(meta);
        });
        step("subscription get attributes", () -> {
            SubscriptionMeta meta = topic.getSubscriptionAttr("s1");
            equal(List.of("t", "1234567890123456", "s1", "http://127.0.0.1:1/n", SubscriptionMeta.NotifyStrategy.EXPONENTIAL_DECAY_RETRY,
                SubscriptionMeta.NotifyContentFormat.XML, "tag"), List.of(meta.getTopicName(), meta.getTopicOwner(), meta.getSubscriptionName(),
                meta.getEndpoint(), meta.getNotifyStrategy(), meta.getNotifyContentFormat(), meta.getFilterTag()));
            equal("s1", asyncOf(topic.asyncGetSubscriptionAttr("s1", null)).getSubscriptionName());
        });
        step("subscription list", () -> {
            PagingListResult<String> page = topic.listSubscriptionUrls("s", "", 3);
            equal(3, page.getResult().size());
            check(topic.listSubscriptionUrls("s", page.getMarker(), 3).getResult().get(0).endsWith("/subscriptions/s4"), page.getMarker());
        });
        step("subscription list with attributes", () ->
            equal("http://127.0.0.1:1/n", topic.listSubscriptions("s", "", 10).getResult().get(0).getEndpoint()));
        step("unsubscribe", () -> {
            for (String name : List.of("s1", "s2", "s3", "s4")) topic.unsubscribe(name);
            refused("SubscriptionNotExist", () -> topic.getSubscriptionAttr("s1"));
        });
    }

    static void published(MNSClient client) {
        CloudTopic topic = client.getTopicRef("t");
        CloudQueue queue = client.getQueueRef("q");
        step("publish with a tag and properties to a queue", () -> {
            SubscriptionMeta meta = subscription("bare", topic.generateQueueEndpoint("q"), SubscriptionMeta.NotifyContentFormat.SIMPLIFIED);
            meta.setFilterTag("yes");
            topic.subscribe(meta);
            for (String tag : List.of("no", "yes")) {
                RawTopicMessage message = new RawTopicMessage();
                message.setMessageBody("a=1&b=" + tag);
                message.setMessageTag(tag);
                message.setUserProperties(new LinkedHashMap<>(Map.of("case", new MessagePropertyValue("ack"))));
                check(topic.publishMessage(message).getMessageId().length() == 32, "");
            }
            Message got = queue.popMessage(5);
            equal("a=1&b=yes", got.getMessageBodyAsRawString());
            equal("ack", got.getUserProperties().get("case").getStringValueByType());
            queue.deleteMessage(got.getReceiptHandle());
            equal(null, queue.popMessage());
            topic.unsubscribe("bare");
        });
        step("publish base64", () -> {
            topic.subscribe(subscription("xml", topic.generateQueueEndpoint("q"), SubscriptionMeta.NotifyContentFormat.XML));
            Base64TopicMessage message = new Base64TopicMessage();
            message.setMessageBody("täxt");
            asyncOf(topic.asyncPublishMessage(message, null));
            Message got = queue.popMessage(5);
            check(got.getMessageBodyAsRawString().contains("<Message>dMOkeHQ=</Message>"), got.getMessageBodyAsRawString());
            queue.deleteMessage(got.getReceiptHandle());
        });
        step("pull topic", () -> {
            TopicMeta meta = new TopicMeta();
            meta.setTopicName("pulled");
            CloudPullTopic pulled = client.createPullTopic(meta, new Vector<>(List.of("p1", "p2")), true, queue("template"));
            RawTopicMessage message = new RawTopicMessage();
            message.setMessageBody("to both");
            pulled.publishMessage(message);
            for (String name : List.of("p1", "p2")) equal("to both", client.getQueueRef(name).popMessage(5).getMessageBodyAsRawString());
            pulled.delete();
        });
    }

    static void account(MNSClient client, String endpoint) {
        step("account attributes", () -> {
            AccountAttributes attributes = new AccountAttributes();
            attributes.setLoggingBucket("logs");
            client.setAccountAttributes(attributes);
            equal("logs", client.getAccountAttributes().getLoggingBucket());
            client.setAccountAttributes(new AccountAttributes());
            equal("logs", client.getAccountAttributes().getLoggingBucket());
        });
        step("open the service", () -> check(client.openService().getOrderId() != null, ""));
        for (String[] keys : new String[][] {{"nobody", "x", "InvalidAccessKeyId"}, {"testAccessKeyId", "wrong", "SignatureDoesNotMatch"}}) {
            step("refused with " + keys[2], () -> {
                MNSClient stranger = MNSClientBuilder.create().accountEndpoint(endpoint).accessKeyId(keys[0]).accessKeySecret(keys[1])
                    .region("cn-hangzhou").build();
                refused(keys[2], () -> stranger.getQueueRef("q").getAttributes());
                stranger.close();
            });
        }
    }
}
