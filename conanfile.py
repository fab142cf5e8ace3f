# SPDX-License-Identifier: Apache-2.0
"""The recipe of zoq for Conan 2:

    conan create . --build=missing -s compiler.cppstd=20

Random123 is no package of Conan's centre. The recipe asks the system for it: on Debian
`apt-get install librandom123-dev`, or `-c tools.system.package_manager:mode=install` to have Conan do so.
"""

import re
from pathlib import Path

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy
from conan.tools.system.package_manager import Apt


class Zoq(ConanFile):
    name = "zoq"
    description = "Zeroth-order fine-tuning of quantised language models with extreme sparsity"
    license = "Apache-2.0"
    topics = ("optimization", "language-models", "quantization")
    package_type = "static-library"  # headers, and the compiled kernels
    settings = "os", "compiler", "build_type", "arch"
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*", "include/*", "src/*"

    def set_version(self):
        text = (Path(self.recipe_folder) / "CMakeLists.txt").read_text(encoding="utf-8")
        self.version = re.search(r"project\(zoq VERSION ([0-9.]+)", text)[1]

    def requirements(self):
        # What a user of the headers compiles with, too.
        for needed in ("eigen/3.4.0", "nlohmann_json/3.11.3", "onetbb/2021.12.0", "pcre2/10.42"):
            self.requires(needed, transitive_headers=True, transitive_libs=True)

    def system_requirements(self):
        Apt(self).install(["librandom123-dev"], check=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "BENCH", "EXAMPLES"):
            toolchain.cache_variables[f"ZOQ_{part}"] = False
        toolchain.cache_variables["ZOQ_MPI"] = "OFF"
        toolchain.cache_variables["ZOQ_OMP"] = "OFF"
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, str(Path(self.package_folder) / "licenses"))
        CMake(self).install()

    def package_info(self):
        # zoq's own package is found, with its targets and what they need.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = ["lib/cmake/zoq"]
        self.cpp_info.libs = ["zoq_kernels"]
