// Arrays of types that NumPy does not have.
#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zeus {
namespace {

// The same memory under another type; keeps `bits` alive.
nb::ndarray<> bfloat16_capsule(nb::handle bits) {
  const auto array = nb::cast<nb::ndarray<std::uint16_t, nb::c_contig>>(bits, false);
  std::size_t shape[16];
  if (array.ndim() > 16) throw std::invalid_argument("bits has more than 16 axes");
  for (std::size_t n = 0; n < array.ndim(); ++n) shape[n] = array.shape(n);
  return nb::ndarray<>(array.data(), array.ndim(), shape, bits, nullptr,
                       {std::uint8_t(nb::dlpack::dtype_code::Bfloat), 16, 1}, array.device_type(),
                       array.device_id());
}

}  // namespace

void def_array_calls(nb::module_& m) {
  m.def("bfloat16_capsule", &bfloat16_capsule, "bits"_a,
        "A DLPack capsule of bfloat16 over a C-contiguous uint16 array; it keeps `bits` alive.");
}

}  // namespace zeus
