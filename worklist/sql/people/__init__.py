"""Who works with the list: `accounts` may enter, `sessions` are their browsers, `work` is what they
have and did, `handing` brings a row from one to another; `tables` keep it.
"""
