"""llama.cpp's own quantizer (what its program `llama-quantize` calls), through llama-cpp-python.

    llama_quantize.py IN.gguf OUT.gguf TYPE THREADS         TYPE such as Q4_0, Q4_K_M
"""

import ctypes
import sys

import llama_cpp


def main() -> None:
    source, target, kind, threads = sys.argv[1:]
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    parameters.nthread = int(threads)
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(parameters))
    if status:
        sys.exit(f"llama_model_quantize: {status}")


if __name__ == "__main__":
    main()
