// Carries out every operation of the Go SDK against one service, and prints how each went: ok or FAIL, its name, and why.
package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	mns "github.com/aliyun/aliyun-mns-go-sdk"
	"github.com/gogap/errors"
)

func step(name string, run func()) {
	defer func() {
		if found := recover(); found != nil {
			fmt.Printf("FAIL %s: %v\n", name, strings.ReplaceAll(fmt.Sprint(found), "\n", " "))
			return
		}
		fmt.Printf("ok %s\n", name)
	}()
	run()
}

func equal(wanted, found interface{}) {
	if !reflect.DeepEqual(wanted, found) {
		panic(fmt.Sprintf("wanted %#v, found %#v", wanted, found))
	}
}

func check(holds bool, found interface{}) {
	if !holds {
		panic(fmt.Sprintf("found %v", found))
	}
}

func done(err error) {
	if err != nil {
		panic(err)
	}
}

func refused(kind errors.ErrCodeTemplate, err error) {
	if !kind.IsEqual(err) {
		panic(fmt.Sprintf("wanted %v, found %v", kind, err))
	}
}

// clientOf gives the SDK an endpoint with the four dots that it counts; the path /. leads to the root.
func clientOf(endpoint, id, secret string) mns.MNSClient {
	return mns.NewAliMNSClient(endpoint+"/.", id, secret)
}

func main() {
	endpoint := os.Args[1]
	client := clientOf(endpoint, "testAccessKeyId", "testAccessKeySecret")
	queues(client)
	messages(client)
	topics(client)
	subscriptions(client)
	step("open the service", func() { _, err := mns.NewAccountManager(client).OpenService(); done(err) })
	step("refused with InvalidAccessKeyId", func() {
		_, err := mns.NewMNSQueueManager(clientOf(endpoint, "nobody", "x")).GetQueueAttributes("results")
		refused(mns.ERR_MNS_INVALID_ACCESS_KEY_ID, err)
	})
	step("refused with SignatureDoesNotMatch", func() {
		_, err := mns.NewMNSQueueManager(clientOf(endpoint, "testAccessKeyId", "wrong")).GetQueueAttributes("results")
		refused(mns.ERR_MNS_SIGNATURE_DOES_NOT_MATCH, err)
	})
}

func queues(client mns.MNSClient) {
	manager := mns.NewMNSQueueManager(client)
	step("queue create", func() {
		done(manager.CreateQueue("made", 0, 65536, 345600, 45, 0, 3))
		refused(mns.ERR_MNS_QUEUE_ALREADY_EXIST_AND_HAVE_SAME_ATTR, manager.CreateQueue("made", 0, 65536, 345600, 45, 0, 3))
		done(manager.CreateSimpleQueue("made2"))
	})
	step("queue create again otherwise", func() {
		refused(mns.ERR_MNS_QUEUE_ALREADY_EXIST, manager.CreateQueue("made", 0, 65536, 345600, 46, 0, 3))
	})
	step("queue create bad name", func() { refused(mns.ERR_MNS_INVALID_QUEUE_NAME, manager.CreateSimpleQueue("a_b")) })
	step("queue create long name", func() {
		refused(mns.ERR_MNS_QUEUE_NAME_LENGTH_ERROR, manager.CreateSimpleQueue(strings.Repeat("q", 200)))
	})
	step("queue set attributes", func() { done(manager.SetQueueAttributes("made", 0, 65536, 345600, 45, 3, 3)) })
	step("queue get attributes", func() {
		found, err := manager.GetQueueAttributes("made")
		done(err)
		equal([]interface{}{"made", int32(45), int32(3), int32(345600)},
			[]interface{}{found.QueueName, found.VisibilityTimeout, found.PollingWaitSeconds, found.MessageRetentionPeriod})
	})
	step("queue list", func() {
		page, err := manager.ListQueue("", 1, "made")
		done(err)
		equal(1, len(page.Queues))
		check(strings.HasSuffix(page.Queues[0].QueueURL, "/queues/made"), page)
		page, err = manager.ListQueue(page.NextMarker, 1, "made")
		done(err)
		check(strings.HasSuffix(page.Queues[0].QueueURL, "/queues/made2"), page)
	})
	step("queue list with attributes", func() {
		found, err := manager.ListQueueDetail("", 10, "made")
		done(err)
		equal(2, len(found.Attrs))
		equal([]interface{}{"made", int32(45)}, []interface{}{found.Attrs[0].QueueName, found.Attrs[0].VisibilityTimeout})
	})
	step("queue delete", func() {
		done(manager.DeleteQueue("made"))
		done(manager.DeleteQueue("made2"))
		_, err := manager.GetQueueAttributes("made")
		refused(mns.ERR_MNS_QUEUE_NOT_EXIST, err)
	})
}

// received is what one call of the SDK, which answers over two channels, gave.
func received(call func(chan mns.MessageReceiveResponse, chan error)) (mns.MessageReceiveResponse, error) {
	answers, mistakes := make(chan mns.MessageReceiveResponse, 1), make(chan error, 1)
	call(answers, mistakes)
	select {
	case answer := <-answers:
		return answer, nil
	case err := <-mistakes:
		return mns.MessageReceiveResponse{}, err
	}
}

func receivedMany(call func(chan mns.BatchMessageReceiveResponse, chan error)) ([]mns.MessageReceiveResponse, error) {
	answers, mistakes := make(chan mns.BatchMessageReceiveResponse, 1), make(chan error, 1)
	call(answers, mistakes)
	select {
	case answer := <-answers:
		return answer.Messages, nil
	case err := <-mistakes:
		return nil, err
	}
}

func messages(client mns.MNSClient) {
	done(mns.NewMNSQueueManager(client).CreateSimpleQueue("results"))
	queue := mns.NewMNSQueue("results", client)
	receive := func(answers chan mns.MessageReceiveResponse, mistakes chan error) {
		queue.ReceiveMessage(answers, mistakes, 1)
	}
	body := "env_id=1&rcpt=a+b@例え.jp\n<x>"
	step("receive from an empty queue", func() {
		_, err := received(receive)
		refused(mns.ERR_MNS_MESSAGE_NOT_EXIST, err)
		_, err = received(queue.PeekMessage)
		refused(mns.ERR_MNS_MESSAGE_NOT_EXIST, err)
		_, err = receivedMany(func(a chan mns.BatchMessageReceiveResponse, e chan error) { queue.BatchPeekMessage(a, e, 16) })
		refused(mns.ERR_MNS_MESSAGE_NOT_EXIST, err)
	})
	step("send", func() {
		sent, err := queue.SendMessage(mns.MessageSendRequest{MessageBody: body, Priority: 3})
		done(err)
		equal(32, len(sent.MessageId))
	})
	step("peek", func() {
		got, err := received(queue.PeekMessage)
		done(err)
		equal(body, got.MessageBody)
	})
	step("receive, change visibility, delete", func() {
		got, err := received(receive)
		done(err)
		equal([]interface{}{body, int64(1), int64(3), int64(30000)},
			[]interface{}{got.MessageBody, got.DequeueCount, got.Priority, got.NextVisibleTime - got.FirstDequeueTime})
		changed, err := queue.ChangeMessageVisibility(got.ReceiptHandle, 60)
		done(err)
		refused(mns.ERR_MNS_MESSAGE_NOT_EXIST, queue.DeleteMessage(got.ReceiptHandle))
		done(queue.DeleteMessage(changed.ReceiptHandle))
	})
	step("delete by a wrong handle", func() { refused(mns.ERR_MNS_RECEIPT_HANDLE_ERROR, queue.DeleteMessage("1-nonsense")) })
	step("batch send, receive, peek, delete", func() {
		one := mns.MessageSendRequest{MessageBody: "x", Priority: 8}
		sent, err := queue.BatchSendMessage(one, one, one)
		done(err)
		equal(3, len(sent.Messages))
		peeked, err := receivedMany(func(a chan mns.BatchMessageReceiveResponse, e chan error) { queue.BatchPeekMessage(a, e, 16) })
		done(err)
		equal(3, len(peeked))
		got, err := receivedMany(func(a chan mns.BatchMessageReceiveResponse, e chan error) { queue.BatchReceiveMessage(a, e, 16, 1) })
		done(err)
		equal(3, len(got))
		_, err = queue.BatchDeleteMessage(got[0].ReceiptHandle, got[1].ReceiptHandle)
		done(err)
		failed, err := queue.BatchDeleteMessage(got[0].ReceiptHandle, got[2].ReceiptHandle, "1-nonsense")
		refused(mns.ERR_MNS_BATCH_OP_FAIL, err)
		equal([]string{"MessageNotExist", "ReceiptHandleError"}, []string{failed.FailedMessages[0].ErrorCode, failed.FailedMessages[1].ErrorCode})
	})
	step("send with delay and delete by its handle", func() {
		late, err := queue.SendMessage(mns.MessageSendRequest{MessageBody: "late", DelaySeconds: 600, Priority: 8})
		done(err)
		done(queue.DeleteMessage(late.ReceiptHandle))
	})
}

func topics(client mns.MNSClient) {
	manager := mns.NewMNSTopicManager(client)
	step("topic create", func() {
		done(manager.CreateSimpleTopic("news"))
		refused(mns.ERR_MNS_TOPIC_ALREADY_EXIST_AND_HAVE_SAME_ATTR, manager.CreateSimpleTopic("news"))
		done(manager.CreateTopic("news2", 4096, true))
	})
	step("topic create again otherwise", func() { refused(mns.ERR_MNS_TOPIC_ALREADY_EXIST, manager.CreateTopic("news", 4096, true)) })
	step("topic create bad name", func() { refused(mns.ERR_MNS_INVALID_TOPIC_NAME, manager.CreateSimpleTopic("a_b")) })
	step("topic create long name", func() {
		refused(mns.ERR_MNS_TOPIC_NAME_LENGTH_ERROR, manager.CreateSimpleTopic(strings.Repeat("t", 200)))
	})
	step("topic set attributes", func() { done(manager.SetTopicAttributes("news", 4096, true)) })
	step("topic get attributes", func() {
		found, err := manager.GetTopicAttributes("news")
		done(err)
		equal([]interface{}{"news", int32(4096), true}, []interface{}{found.TopicName, found.MaxMessageSize, found.LoggingEnabled})
	})
	step("topic list", func() {
		page, err := manager.ListTopic("", 1, "news")
		done(err)
		page, err = manager.ListTopic(page.NextMarker, 1, "news")
		done(err)
		check(strings.HasSuffix(page.Topics[0].TopicURL, "/topics/news2"), page)
	})
	step("topic list with attributes", func() {
		found, err := manager.ListTopicDetail("", 10, "news")
		done(err)
		equal([]interface{}{2, int32(4096)}, []interface{}{len(found.Attrs), found.Attrs[0].MaxMessageSize})
	})
	step("topic delete", func() {
		done(manager.DeleteTopic("news"))
		done(manager.DeleteTopic("news2"))
		_, err := manager.GetTopicAttributes("news")
		refused(mns.ERR_MNS_TOPIC_NOT_EXIST, err)
	})
}

func subscriptions(client mns.MNSClient) {
	done(mns.NewMNSTopicManager(client).CreateSimpleTopic("t"))
	done(mns.NewMNSQueueManager(client).CreateSimpleQueue("q"))
	topic, queue := mns.NewMNSTopic("t", client), mns.NewMNSQueue("q", client)
	http := mns.MessageSubsribeRequest{Endpoint: "http://127.0.0.1:1/n", FilterTag: "tag", NotifyContentFormat: mns.XML}
	step("subscribe a URL", func() {
		done(topic.Subscribe("s1", http))
		refused(mns.ERR_MNS_SUBSCRIPTION_ALREADY_EXIST_AND_HAVE_SAME_ATTR, topic.Subscribe("s1", http))
	})
	step("subscribe again otherwise", func() {
		refused(mns.ERR_MNS_SUBSCRIPTION_ALREADY_EXIST, topic.Subscribe("s1", mns.MessageSubsribeRequest{Endpoint: "http://127.0.0.1:2/"}))
	})
	step("subscribe a queue", func() {
		done(topic.Subscribe("s2", mns.MessageSubsribeRequest{Endpoint: topic.GenerateQueueEndpoint("q"), NotifyContentFormat: mns.SIMPLIFIED}))
	})
	step("subscribe a mailbox", func() {
		done(topic.Subscribe("s3", mns.MessageSubsribeRequest{Endpoint: topic.GenerateMailEndpoint("a@example.com")}))
	})
	step("subscribe to no endpoint", func() {
		refused(mns.ERR_MNS_INVALID_ENDPOINT, topic.Subscribe("s4", mns.MessageSubsribeRequest{Endpoint: "nowhere"}))
	})
	step("subscribe long name", func() {
		refused(mns.ERR_MNS_SUBSRIPTION_NAME_LENGTH_ERROR, topic.Subscribe(strings.Repeat("s", 200), http))
	})
	step("subscription set attributes", func() { done(topic.SetSubscriptionAttributes("s1", mns.EXPONENTIAL_DECAY_RETRY)) })
	step("subscription get attributes", func() {
		found, err := topic.GetSubscriptionAttributes("s1")
		done(err)
		equal([]interface{}{"s1", "t", "1234567890123456", "http://127.0.0.1:1/n", mns.EXPONENTIAL_DECAY_RETRY, mns.XML, "tag"}, []interface{}{
			found.SubscriptionName, found.TopicName, found.TopicOwner, found.Endpoint, found.NotifyStrategy, found.NotifyContentFormat, found.FilterTag})
	})
	step("subscription list", func() {
		page, err := topic.ListSubscriptionByTopic("", 2, "s")
		done(err)
		equal([]interface{}{2, "s3"}, []interface{}{len(page.Subscriptions), page.NextMarker})
	})
	step("subscription list with attributes", func() {
		found, err := topic.ListSubscriptionDetailByTopic("", 10, "s")
		done(err)
		equal([]interface{}{3, "http://127.0.0.1:1/n"}, []interface{}{len(found.Attrs), found.Attrs[0].Endpoint})
	})
	step("publish with a tag to a queue", func() {
		sent, err := topic.PublishMessage(mns.MessagePublishRequest{MessageBody: "a=1&b=2", MessageTag: "other"})
		done(err)
		equal(32, len(sent.MessageId))
		got, err := received(func(a chan mns.MessageReceiveResponse, e chan error) { queue.ReceiveMessage(a, e, 5) })
		done(err)
		equal("a=1&b=2", got.MessageBody)
	})
	step("unsubscribe", func() {
		for _, name := range []string{"s1", "s2", "s3"} {
			done(topic.Unsubscribe(name))
		}
		_, err := topic.GetSubscriptionAttributes("s1")
		check(err != nil && strings.Contains(err.Error(), "SubscriptionNotExist"), err)
	})
}
