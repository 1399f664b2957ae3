"""PyTorch's eager mode as a peer: a child of the bench that reads requests from stdin and answers each on stdout, one
line of JSON apiece: {"id": 1, "body": …}, with what protocol.ts says as the body. Times are taken in here; on a GPU it
waits before and after until nothing is left to do. Needs torch and numpy alone.
"""

import base64
import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

# First: it shows the others the way to the training's modules.
from published import build, entries
import dit_model  # isort: skip
import layers  # isort: skip

TYPES = {'f32': torch.float32, 'f16': torch.float16}


def driven_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=eps) * (1 + scale) + shift


def embed(self: layers.TimestepEmbedding, x: Tensor) -> Tensor:
    return self.linear_2(F.silu(self.linear_1(x.to(self.linear_1.weight.dtype))))


def as_users_run_it() -> None:
    """The training code writes some operators out, for small models on a CPU, and computes norms in f32; users of
    PyTorch call its own operators, which keep f32 inside."""
    layers.attend = dit_model.attend = F.scaled_dot_product_attention
    layers.TimestepEmbedding.forward = embed
    dit_model.driven_norm = driven_norm


class Work:
    """A model with its inputs, in one way of running it."""

    def __init__(self, job: dict):
        ways = job['variant'].split(', ')
        self.device = torch.device(job['device'])
        self.is_gpu = self.device.type == 'cuda'
        if self.is_gpu and not torch.cuda.is_available():
            raise RuntimeError(f'expected CUDA, got PyTorch {torch.__version__} without; see nvidia-smi')
        self.dtype = TYPES[job['dtype']]
        self.format = torch.channels_last if 'channels last' in ways else torch.contiguous_format
        tf32 = 'TF32' in ways
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        # As packages are loaded before a first run is timed, so is the driver.
        torch.zeros(1, device=self.device)
        self.wait()
        self.model, self.inputs = build(entries()[job['work']['model']])
        self.opened = {
            'version': torch.__version__,
            'settings': '; '.join(self.settings(job['dtype'], tf32)),
            'pipelined': self.is_gpu,
        }

    def settings(self, dtype: str, tf32: bool) -> list[str]:
        where = [f'CPU, {torch.get_num_threads()} threads']
        if self.is_gpu:
            products = f', TF32 {"on" if tf32 else "off"}' if dtype == 'f32' else ''
            where = [torch.cuda.get_device_name(self.device), f'cuDNN {torch.backends.cudnn.version()}, benchmarked']
            where += [f'weights and activations in {dtype}{products}', 'result stays on the device']
        layout = 'channels last' if self.format == torch.channels_last else 'channels first'
        return ['eager, inference mode', *where, layout, 'scaled_dot_product_attention']

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    def placed(self, name: str, x: Tensor) -> Tensor:
        """An input on the device: samples and contexts in the storage type, timesteps in f32 and labels as they are."""
        dtype = self.dtype if name in ('sample', 'context') else x.dtype
        x = x.to(self.device, dtype)
        return x.contiguous(memory_format=self.format) if x.dim() == 4 else x

    @torch.inference_mode()
    def first(self) -> float:
        start = time.perf_counter()
        self.model = self.model.to(self.device, self.dtype, memory_format=self.format)
        self.inputs = [self.placed(name, x) for name, x in self.inputs.items()]
        self.model(*self.inputs)
        self.wait()
        return 1000 * (time.perf_counter() - start)

    @torch.inference_mode()
    def run(self, runs: int) -> float:
        self.wait()
        start = time.perf_counter()
        for _ in range(runs):
            self.model(*self.inputs)
        self.wait()
        return 1000 * (time.perf_counter() - start)

    @torch.inference_mode()
    def output(self) -> str:
        """The result, f32 and little-endian, in base 64."""
        out = self.model(*self.inputs).float().cpu().contiguous().numpy()
        return base64.b64encode(out.astype('<f4').tobytes()).decode()


def answer(work: Work, request: dict) -> dict:
    if request['method'] == 'first':
        return {'ms': work.first()}
    if request['method'] == 'run':
        return {'ms': work.run(request['runs'])}
    return {'output': work.output()}


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    as_users_run_it()
    work = None
    for line in sys.stdin:
        message = json.loads(line)
        request = message['body']
        try:
            if request['method'] == 'open':
                work = Work(request['job'])
                body = {'opened': work.opened}
            elif work is None:
                raise RuntimeError(f'expected open before {request["method"]}')
            else:
                body = answer(work, request)
        except Exception as error:  # whatever it is, the bench shall hear of it
            body = {'error': f'torch: {type(error).__name__}: {error}'}
        print(json.dumps({'id': message['id'], 'body': body}), file=answers, flush=True)


if __name__ == '__main__':
    main()
