"""A CUDA graph without a card: a step's operations are recorded with the very tensors that they read and
wrote, and run again on these. Numbers and shapes that Python computed are frozen, as in a graph on a card,
and what reads a value on this side, or copies one over, is refused."""
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
REFUSED = (aten._local_scalar_dense.default, aten.item.default, aten.nonzero.default, aten.lift_fresh.default)


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if op in REFUSED:
            raise RuntimeError(f"operation not permitted when stream is capturing\n{op}")
        kwargs = kwargs or {}
        out = op(*args, **kwargs)
        read = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs)) if t.layout == torch.strided}
        if op._schema.is_mutable:
            self.calls.append((op, args, kwargs, ()))
        elif not all(t.untyped_storage().data_ptr() in read for t in tensors(out)):  # views need no replay
            self.calls.append((op, args, kwargs, tensors(out)))
        return out


class RecordedStep:
    """As engine.graph.CudaGraph. `captured` and `replayed` count over all of them."""
    captured = replayed = 0

    def capture(self, step):
        type(self).captured += 1
        step()
        with Recorder() as recorder:
            results = step()
        self.calls = recorder.calls
        for result in results:  # on a card, nothing has been computed yet
            result.zero_()
        return results

    def replay(self):
        type(self).replayed += 1
        for op, args, kwargs, outs in self.calls:
            new = op(*args, **kwargs)
            for old, value in zip(outs, tensors(new) if outs else ()):
                old.copy_(value)
