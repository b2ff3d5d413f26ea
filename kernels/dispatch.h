// Which tables this build has and this machine can run.
#pragma once

#include <string>
#include <vector>

#include "kernel_table.h"

namespace zeus {

// Names that table() accepts here, the fastest first; "cpu" stands for the fastest.
std::vector<std::string> table_names();

// Throws std::invalid_argument for a name this build or machine does not have.
const KernelTable& table(const std::string& name);

}  // namespace zeus
