"""A model of somebody else's becomes a package: `vigie models import`.

A `draft` holds what only its users can say (what it is for, which outputs count, from where on);
`torchxrayvision` and `monai` say what their files hold, read by `checkpoint` in a confined child
(`unpickle`); `package` puts it all together and measures the references, which `nameless` keeps
without their patients.
"""
