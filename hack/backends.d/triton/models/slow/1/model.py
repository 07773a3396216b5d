"""Takes seconds for each request: what is busy, what queues, what unloads and still works."""

import time

import triton_python_backend_utils as pb_utils

SECONDS = 3


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            time.sleep(SECONDS)
            given = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            tensor = pb_utils.Tensor("OUT", given)
            answers.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
        return answers
