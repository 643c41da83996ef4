"""The digits: from 784 bytes of a camera to label and confidence, with the code of the one-file worker."""

from collections.abc import Callable

from one_file_worker import infer, load as session


def load(folder: str) -> Callable[[bytes], list[bytes]]:
    model = session(f"{folder}/model.onnx")
    return lambda payload: [infer(model, payload)]
