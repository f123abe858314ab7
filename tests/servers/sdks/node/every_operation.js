'use strict';
// Carries out every operation of @alicloud/mns against one service, and prints how each went: ok or FAIL, its name, and why.
// Its deleteTopic, subscribe, unsubscribe and other subscription calls are empty functions, so there is nothing to try.
const assert = require('assert').strict;
const MNS = require('@alicloud/mns');

const endpoint = process.argv[2];
const client = new MNS('1234567890123456', {endpoint, accessKeyId: 'testAccessKeyId', accessKeySecret: 'testAccessKeySecret'});

async function step(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}: ${String(error).replace(/\n/g, ' ')}`);
  }
}

async function refused(code, work) {
  await assert.rejects(work, error => {
    assert.equal(error.name, `MNS${code}Error`);
    assert.match(error.message, /requestid: [0-9A-F]{24}, hostid: http/);
    return true;
  });
}

async function queues() {
  await step('queue create', async () => {
    const made = await client.createQueue('made', {VisibilityTimeout: 45});
    assert.deepEqual([made.code, made.headers.location], [201, `${endpoint}/queues/made`]);
    assert.equal((await client.createQueue('made', {VisibilityTimeout: 45})).code, 204);
    await client.createQueue('made2');
  });
  await step('queue create again otherwise', () => refused('QueueAlreadyExist', client.createQueue('made', {VisibilityTimeout: 46})));
  await step('queue create out of range', () => refused('InvalidArgument', client.createQueue('far', {PollingWaitSeconds: 60})));
  await step('queue create bad name', () => refused('InvalidQueueName', client.createQueue('a_b')));
  await step('queue create long name', () => refused('QueueNameLengthError', client.createQueue('q'.repeat(257))));
  await step('queue set attributes', () => client.setQueueAttributes('made', {PollingWaitSeconds: 3}));
  await step('queue get attributes', async () => {
    const {QueueName, VisibilityTimeout, PollingWaitSeconds} = (await client.getQueueAttributes('made')).body;
    assert.deepEqual([QueueName, VisibilityTimeout, PollingWaitSeconds], ['made', '45', '3']);
  });
  await step('queue list', async () => {
    const page = await client.listQueue('', 1, 'made');
    assert.deepEqual(page.body.map(queue => queue.QueueURL), [`${endpoint}/queues/made`]);
    const rest = await client.listQueue('made2', 1, 'made');
    assert.deepEqual(rest.body.map(queue => queue.QueueURL), [`${endpoint}/queues/made2`]);
  });
  await step('queue delete', async () => {
    assert.equal((await client.deleteQueue('made')).code, 204);
    await client.deleteQueue('made2');
    await refused('QueueNotExist', client.getQueueAttributes('made'));
  });
}

async function messages() {
  await client.createQueue('results');
  await step('receive from an empty queue', async () => {
    await refused('MessageNotExist', client.receiveMessage('results'));
    await refused('MessageNotExist', client.receiveMessage('results', 1));
    await refused('MessageNotExist', client.peekMessage('results'));
    await refused('MessageNotExist', client.batchReceiveMessage('results', 16));
    await refused('MessageNotExist', client.batchPeekMessage('results', 16));
  });
  await step('send', async () => {
    const sent = await client.sendMessage('results', {MessageBody: 'env_id=1&amp;rcpt=a+b@例え.jp'});
    assert.equal(sent.code, 201);
    assert.match(sent.body.MessageId, /^[0-9A-F]{32}$/);
  });
  await step('peek', async () =>
    assert.equal((await client.peekMessage('results')).body.MessageBody, 'env_id=1&rcpt=a+b@例え.jp'));
  await step('receive, change visibility, delete', async () => {
    const got = (await client.receiveMessage('results', 1)).body;
    assert.deepEqual([got.MessageBody, got.DequeueCount, got.Priority], ['env_id=1&rcpt=a+b@例え.jp', '1', '8']);
    const changed = (await client.changeMessageVisibility('results', got.ReceiptHandle, 60)).body;
    await refused('MessageNotExist', client.deleteMessage('results', got.ReceiptHandle));
    assert.equal((await client.deleteMessage('results', changed.ReceiptHandle)).code, 204);
  });
  await step('delete by a wrong handle', () => refused('ReceiptHandleError', client.deleteMessage('results', '1-nonsense')));
  await step('batch send, receive, peek, delete', async () => {
    const sent = await client.batchSendMessage('results', ['a', 'b', 'c'].map(MessageBody => ({MessageBody})));
    assert.equal(sent.body.length, 3);
    assert.equal((await client.batchPeekMessage('results', 16)).body.length, 3);
    const handles = (await client.batchReceiveMessage('results', 16, 1)).body.map(message => message.ReceiptHandle);
    assert.equal((await client.batchDeleteMessage('results', handles.slice(0, 2))).code, 204);
    const refusals = (await client.batchDeleteMessage('results', [handles[0], handles[2], '1-nonsense'])).body;
    assert.deepEqual(refusals.map(one => [one.ErrorCode, one.ReceiptHandle]),
      [['MessageNotExist', handles[0]], ['ReceiptHandleError', '1-nonsense']]);
  });
  await step('send with delay and delete by its handle', async () => {
    const late = await client.sendMessage('results', {MessageBody: 'late', DelaySeconds: 600, Priority: 1});
    assert.equal((await client.getQueueAttributes('results')).body.DelayMessages, '1');
    await client.deleteMessage('results', late.body.ReceiptHandle);
    assert.equal((await client.getQueueAttributes('results')).body.DelayMessages, '0');
  });
}

async function topics() {
  await step('topic create', async () => {
    assert.equal((await client.createTopic('news')).headers.location, `${endpoint}/topics/news`);
    await client.createTopic('news2');
  });
  await step('topic create again otherwise', () => refused('TopicAlreadyExist', client.createTopic('news', {MaximumMessageSize: 4096})));
  await step('topic create bad name', () => refused('TopicNameInvalid', client.createTopic('a_b')));
  await step('topic set attributes', () => client.setTopicAttributes('news', {MaximumMessageSize: 4096}));
  await step('topic get attributes', async () => {
    const {TopicName, MaximumMessageSize} = (await client.getTopicAttributes('news')).body;
    assert.deepEqual([TopicName, MaximumMessageSize], ['news', '4096']);
  });
  await step('topic list', async () =>
    assert.deepEqual((await client.listTopic('', 10, 'news')).body.map(topic => topic.TopicURL), [`${endpoint}/topics/news`, `${endpoint}/topics/news2`]));
  await step('publish', async () => {
    const sent = await client.publishMessage('news', {MessageBody: 'a=1', MessageTag: 'tag'});
    assert.deepEqual([sent.code, sent.body.MessageId.length], [201, 32]);
    await refused('TopicNotExist', client.publishMessage('nowhere', {MessageBody: 'x'}));
  });
  for (const [accessKeyId, accessKeySecret, code] of [['nobody', 'x', 'InvalidAccessKeyId'], ['testAccessKeyId', 'wrong', 'SignatureDoesNotMatch']]) {
    await step(`refused with ${code}`, () =>
      refused(code, new MNS('1', {endpoint, accessKeyId, accessKeySecret}).getQueueAttributes('results')));
  }
}

queues().then(messages).then(topics).then(() => process.exit(0));
