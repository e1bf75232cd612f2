/** What a client is to do in one scenario; it fails by whatever it throws. */
@FunctionalInterface
interface Scenario {
    void run(World world) throws Exception;
}
