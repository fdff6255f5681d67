"""The only room that names array libraries: namespaces, devices, random streams, scatter_add, erf, to_numpy."""

from __future__ import annotations

from portable_nn.backend.devices import available_devices as available_devices
from portable_nn.backend.devices import convert as convert
from portable_nn.backend.devices import device_name as device_name
from portable_nn.backend.devices import namespace_of_device as namespace_of_device
from portable_nn.backend.devices import native_device as native_device
from portable_nn.backend.devices import resolve_device as resolve_device
from portable_nn.backend.devices import to_device as to_device
from portable_nn.backend.devices import to_numpy as to_numpy
from portable_nn.backend.namespace import array_namespace as array_namespace
from portable_nn.backend.namespace import is_array as is_array
from portable_nn.backend.random import Stream as Stream
from portable_nn.backend.scatter import scatter_add as scatter_add
from portable_nn.backend.special import erf as erf
