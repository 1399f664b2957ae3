/** ONNX models from TypeScript: enough of onnx.proto3 (IR version 8) for graphs of a few operators. */
import { Message } from './protobuf.ts';

export interface OnnxNode {
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  /** Whole numbers become INT or INTS; a float is written as `{ float }`. */
  attributes?: Readonly<Record<string, number | readonly number[] | { float: number }>>;
  /** `com.microsoft` for onnxruntime's own operators. */
  domain?: string;
}

export interface OnnxTensor {
  shape: readonly number[];
  data: Float32Array | BigInt64Array;
  /**
   * An initialiser that is an input too may be overridden, so it is no constant: runtimes keep it on the device and
   * fold nothing into it.
   */
  overridable?: boolean;
}

export interface OnnxModel {
  nodes: readonly OnnxNode[];
  /** Inputs that a run has to feed; int64 or f32. */
  inputs: Readonly<Record<string, { shape: readonly (number | string)[]; int64?: boolean }>>;
  tensors: Readonly<Record<string, OnnxTensor>>;
  /** Shapes; a text is a size that is known when it runs. */
  outputs: Readonly<Record<string, readonly (number | string)[]>>;
}

const IR_VERSION = 8;
const OPSET = 17;
const FLOAT = 1;
const INT64 = 7;

/** The model's file. */
export function encodeOnnx({ nodes, inputs, tensors, outputs }: OnnxModel): Uint8Array<ArrayBuffer> {
  const graph = new Message();
  for (const node of nodes) graph.message(1, nodeMessage(node));
  graph.text(2, 'graph');
  for (const [name, tensor] of Object.entries(tensors)) graph.message(5, tensorMessage(name, tensor));
  for (const [name, { shape, int64 }] of Object.entries(inputs)) {
    graph.message(11, valueMessage(name, shape, int64 ? INT64 : FLOAT));
  }
  for (const [name, { shape, data, overridable }] of Object.entries(tensors)) {
    if (overridable) graph.message(11, valueMessage(name, shape, data instanceof Float32Array ? FLOAT : INT64));
  }
  for (const [name, shape] of Object.entries(outputs)) graph.message(12, valueMessage(name, shape, FLOAT));
  return new Message()
    .int(1, IR_VERSION)
    .text(2, 'daguerre bench')
    .message(7, graph)
    .message(8, new Message().text(1, '').int(2, OPSET))
    .message(8, new Message().text(1, 'com.microsoft').int(2, 1))
    .finish();
}

function nodeMessage({ op, inputs, outputs, attributes = {}, domain }: OnnxNode): Message {
  const message = new Message();
  for (const name of inputs) message.text(1, name);
  for (const name of outputs) message.text(2, name);
  message.text(3, outputs[0]).text(4, op);
  for (const [name, value] of Object.entries(attributes)) message.message(5, attributeMessage(name, value));
  if (domain) message.text(7, domain);
  return message;
}

function attributeMessage(name: string, value: number | readonly number[] | { float: number }): Message {
  const message = new Message().text(1, name);
  if (typeof value === 'number') return message.int(3, value).int(20, 2);
  if ('float' in value) return message.float(2, value.float).int(20, 1);
  return message.ints(8, value).int(20, 7);
}

function tensorMessage(name: string, { shape, data }: OnnxTensor): Message {
  return new Message()
    .ints(1, shape)
    .int(2, data instanceof Float32Array ? FLOAT : INT64)
    .text(8, name)
    .bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function valueMessage(name: string, shape: readonly (number | string)[], type: number): Message {
  const dims = new Message();
  for (const size of shape) {
    dims.message(1, typeof size === 'number' ? new Message().int(1, size) : new Message().text(2, size));
  }
  return new Message().text(1, name).message(2, new Message().message(1, new Message().int(1, type).message(2, dims)));
}
