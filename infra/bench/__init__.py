"""`vigie bench`: each stage beside the bare libraries that it stands on, by turns.

- `catalogue`: which benches there are
- `measure`: how two rates are compared
- `hospital`: the studies, and the database, that the benches share
- `process`: one of our processes while it is measured
- `hl7`: one order, beside python-hl7
- `mllp`: the MLLP door, beside a bare echo
- `cstore`: the DICOM door, beside dcmtk's storescp
- `image_to_rank`: a film's way to its finding, beside the sum of its parts
- `worklist`: events to rows, beside a loop of the same SQL
- `pipeline`: the same through Kafka and the agent's process
- `bad_numbers`: an order under a number of thousands of patients
- `claim`: the next study, beside the barest queue
- `top50`: the page that each reader refreshes, beside a look-up by key
- `sse`: the live feed, beside raw writes
- `page`: what the web process costs
- `twin`: the simulator, beside QuCAD's
"""
