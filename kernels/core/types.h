// From the type a caller names to the C++ type a kernel is built for, and its name in an entry point.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

template <class T>
struct Type {
  using type = T;
};

// call(Type<T>()) with the stored type.
template <class Call>
VOXEL_FN auto with_stored(Stored type, Call call) {
  switch (type) {
    case Stored::int8:
      return call(Type<std::int8_t>());
    case Stored::uint8:
      return call(Type<std::uint8_t>());
    case Stored::int16:
      return call(Type<std::int16_t>());
    case Stored::uint16:
      return call(Type<std::uint16_t>());
    case Stored::int32:
      return call(Type<std::int32_t>());
    default:
      return call(Type<float>());
  }
}

template <class Call>
VOXEL_FN auto with_real(Real type, Call call) {
  switch (type) {
    case Real::float16:
      return call(Type<Half>());
    case Real::bfloat16:
      return call(Type<Bfloat16>());
    default:
      return call(Type<float>());
  }
}

template <class Call>
VOXEL_FN auto with_label(LabelValue type, Call call) {
  return type == LabelValue::uint16 ? call(Type<std::uint16_t>()) : call(Type<std::uint8_t>());
}

VOXEL_FN const char* name_of(Stored type) {
  switch (type) {
    case Stored::int8:
      return "int8";
    case Stored::uint8:
      return "uint8";
    case Stored::int16:
      return "int16";
    case Stored::uint16:
      return "uint16";
    case Stored::int32:
      return "int32";
    default:
      return "float32";
  }
}

VOXEL_FN const char* name_of(Real type) {
  return type == Real::float16 ? "float16" : type == Real::bfloat16 ? "bfloat16" : "float32";
}

VOXEL_FN const char* name_of(LabelValue type) {
  return type == LabelValue::uint16 ? "uint16" : "uint8";
}

}  // namespace
}  // namespace zeus
