# SPDX-License-Identifier: GPL-2.0-or-later
"""What libkdumpfile reads of a dump, as JSON; for the Python that Debian's python3-libkdumpfile belongs to.

usage: kdumpfile_reader.py DUMP [ADDRESS…]: also 16 bytes at each kernel virtual address
"""

import hashlib
import json
import sys

import addrxlat
from kdumpfile import KDUMP_KVADDR, KDUMP_MACHPHYSADDR, kdumpfile
from kdumpfile.exceptions import NoDataException

PAGE, PAGE_OFFSET = 4096, 0xC0000000
dump = kdumpfile(sys.argv[1])
attributes = dump.attr
pages = {}
for number in range(attributes["max_pfn"]):
    try:
        data = dump.read(KDUMP_MACHPHYSADDR, number * PAGE, PAGE)
    except NoDataException:
        continue
    pages[number] = hashlib.sha256(data).hexdigest()
# Up to 0.5.3 it takes vm_struct.addr for vm_struct.vm_struct in VMCOREINFO, so it has no linear map, and looks for the
# root page table, whose address is virtual, by way of itself; it must be told where that is.
root = attributes.get("linux.vmcoreinfo.SYMBOL.swapper_pg_dir")
if root is not None:
    attributes["addrxlat.default.rootpgt.as"] = addrxlat.MACHPHYSADDR
    attributes["addrxlat.default.rootpgt.addr"] = root - PAGE_OFFSET
attributes["addrxlat.ostype"] = "linux"
print(
    json.dumps(
        {
            "format": attributes["file.format"],
            "machine": attributes["arch.name"],
            "pages": pages,
            "eip": [attributes[f"cpu.{cpu}.reg.eip"] for cpu in range(attributes["cpu.number"])],
            "esp": [attributes[f"cpu.{cpu}.reg.esp"] for cpu in range(attributes["cpu.number"])],
            "memory": [dump.read(KDUMP_KVADDR, int(word, 16), 16).hex() for word in sys.argv[2:]],
        }
    )
)
