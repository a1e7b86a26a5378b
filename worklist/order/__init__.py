"""The rank and the policy that it follows: pure."""
