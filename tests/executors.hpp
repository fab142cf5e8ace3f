// The executors that every operation, view, pass and trainer is tested on (R18): one list for all
// typed tests. omp, the devices' own template on the threads of a CPU, where Thrust is installed.
//
//     TEST_CASE_TEMPLATE("add is exact", X, ZOQ_TEST_EXECUTORS) { const X exec; ... }
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/exec/cpu.hpp"
#include "zoq/exec/serial.hpp"

#ifdef ZOQ_TEST_OMP
#include "zoq/exec/omp.hpp"
#define ZOQ_TEST_EXECUTORS zoq::serial, zoq::cpu, zoq::omp
#else
#define ZOQ_TEST_EXECUTORS zoq::serial, zoq::cpu
#endif
