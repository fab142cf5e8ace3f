// The passes on the executor `cpu`, which zoq::kernels has compiled: a program that is linked with it and
// includes this does not compile them again. Without zoq::kernels it changes nothing.
//
//     #include <zoq/model/decoder_forward.hpp>
//     #include <zoq/model/on_cpu.hpp>             // zoq/zoq.hpp has it
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "zoq/core/config.hpp"
#include "zoq/exec/cpu.hpp"
#include "zoq/model/batch.hpp"
#include "zoq/model/decoder.hpp"
#include "zoq/model/decoder_forward.hpp"
#include "zoq/model/decoder_stream.hpp"
#include "zoq/model/finite.hpp"
#include "zoq/model/llama_reverse.hpp"
#include "zoq/model/resident.hpp"

#ifdef ZOQ_COMPILED_KERNELS

namespace zoq {

ZOQ_COMPILED class resident_weights<cpu>;
ZOQ_COMPILED class device_batch<cpu>;
ZOQ_COMPILED class decoder_stream<cpu>;
ZOQ_COMPILED class decoder_forward<cpu>;
ZOQ_COMPILED class llama_reverse<cpu>;
ZOQ_COMPILED buffer<float> gain_of(const cpu&, const any_packed&);
ZOQ_COMPILED void require_finite(const cpu&, std::span<const model_tensor>);

}  // namespace zoq

#endif
