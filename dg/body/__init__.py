"""Body models, the analytic mapping from 17 (or 16) joints to a posed body, and skinning with stretched bones."""

BODIES = {
    "open": "dg.body.open_body:OpenBody",
    "smpl": "dg.body.smpl_body:SMPLBody",
}
