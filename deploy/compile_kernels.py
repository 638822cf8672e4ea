"""Compiles our CUDA kernels as the program does when it first uses them: with nvrtc, which needs no GPU.

Usage: compile_kernels.py LIBNVRTC SOURCE.cu ...; prints a line per source and GPU, ends with 1 if one does not compile.
"""

import ctypes
import pathlib
import sys

# The compiler's own default, which the program takes, and the GPUs of data centres.
TARGETS = [[], ["--gpu-architecture=compute_80"], ["--gpu-architecture=compute_90"], ["--gpu-architecture=sm_90"]]


def text(size_of, copy, program):
    """What nvrtc has to say, or has made."""
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    copy(program, buffer)
    return buffer.value.decode()


def compile_source(nvrtc, source, options):
    """Returns the machine-independent code, or ends the program with what the compiler says."""
    program = ctypes.c_void_p()
    name = source.name.encode()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), name, 0, None, None)
    arguments = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    if nvrtc.nvrtcCompileProgram(program, len(options), arguments) != 0:
        sys.exit(text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program))
    return text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def main():
    nvrtc = ctypes.CDLL(sys.argv[1])
    for path in map(pathlib.Path, sys.argv[2:]):
        for options in TARGETS:
            code = compile_source(nvrtc, path, options)
            kernels = [line.split("(")[0].split()[-1] for line in code.splitlines() if ".entry" in line]
            if not kernels:
                sys.exit(f"{path.name}: no kernel came out")
            target = next(line for line in code.splitlines() if line.startswith(".target")).split()[1]
            print(f"{path.name} for {target}: {', '.join(kernels)}, {len(code)} bytes of PTX")


main()
