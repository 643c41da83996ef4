"""The digits: 784 bytes of a camera in, label and confidence out. It is the job of the one-file worker, and its very code."""

from collections.abc import Callable

from one_file_worker import infer, load as session


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(f"{folder}/model.onnx")
    return lambda payload: [infer(model, payload)]
